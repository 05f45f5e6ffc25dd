"""The kernel engine's own promises: positions, limits, determinism, and errors that end clearly."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlr.engines.base import Sampling
from mlr.engines.kernel import wasmtime as host
from mlr.engines.kernel.engine import KernelEngine
from mlr.engines.kernel.instance import KernelOptions
from mlr.errors import CapacityError, ContextLengthError, EngineError, LoadError, RequestError
from mlr.formats.gguf import read_gguf
from mlr.formats.source import BytesSource
from tests.support.kernels import open_kernel
from tests.support.tiny_models import tiny_gguf

PROMPT = [1, *range(3, 120)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return tiny_gguf(folder / "gemma3.gguf", architecture="gemma3", quantization="MIXED")


def logits_after(engine: KernelEngine, tokens: list[int], step: int) -> bytes:
    engine.truncate(0)
    for start in range(0, len(tokens), step):
        engine.evaluate(tokens[start : start + step])
    return engine.logits().tobytes()


@pytest.mark.parametrize("step", [1, 3, 64, 200])
def test_a_prompt_gives_the_same_logits_however_it_is_divided(model: Path, step: int) -> None:
    with open_kernel(model) as engine:
        assert logits_after(engine, PROMPT, step) == logits_after(engine, PROMPT, 7)


def test_logits_that_are_not_wanted_change_nothing_else(model: Path) -> None:
    with open_kernel(model) as engine:
        expected = logits_after(engine, PROMPT, 64)
        engine.truncate(0)
        engine.evaluate(PROMPT[:100], logits=False)
        engine.evaluate(PROMPT[100:])
        assert engine.logits().tobytes() == expected


def test_position_counts_evaluated_tokens_and_truncate_takes_back(model: Path) -> None:
    with open_kernel(model) as engine:
        assert engine.position() == 0
        engine.evaluate(PROMPT[:10])
        assert engine.position() == 10
        fresh = logits_after(engine, [*PROMPT[:6], 42], 64)
        engine.truncate(0)
        engine.evaluate(PROMPT[:10])
        engine.truncate(6)
        engine.evaluate([42])
        assert engine.position() == 7
        assert engine.logits().tobytes() == fresh


def test_truncate_refuses_what_a_sliding_window_no_longer_holds(model: Path) -> None:
    with open_kernel(model, context_length=256) as engine:
        engine.evaluate(PROMPT * 2)
        with pytest.raises(EngineError):
            engine.truncate(5)
        assert engine.position() == 2 * len(PROMPT)
        engine.truncate(0)
        assert engine.position() == 0


def test_truncate_beyond_the_end_is_refused(model: Path) -> None:
    with open_kernel(model) as engine:
        engine.evaluate([1, 2, 3])
        with pytest.raises(RequestError):
            engine.truncate(4)


def test_a_full_context_is_refused_before_anything_is_evaluated(model: Path) -> None:
    with open_kernel(model, context_length=20) as engine:
        with pytest.raises(ContextLengthError, match="21 tokens after 0 do not fit"):
            engine.evaluate(PROMPT[:21])
        engine.evaluate(PROMPT[:20])
        with pytest.raises(ContextLengthError):
            engine.evaluate([5])
        assert engine.position() == 20


@pytest.mark.parametrize("token", [-1, 301, 2**31])
def test_ids_outside_the_vocabulary_are_refused(model: Path, token: int) -> None:
    with open_kernel(model) as engine:
        with pytest.raises(RequestError, match="not in the vocabulary"):
            engine.evaluate([token])
        assert engine.position() == 0


def test_the_kernel_itself_checks_ids_and_counts(model: Path) -> None:
    with open_kernel(model, context_length=20) as engine:
        instance = engine._instance
        assert instance is not None
        address = int(instance.call("mlr_tokens"))
        instance.write(address, (301).to_bytes(4, "little"))
        assert instance.call("mlr_eval", 1) == -8
        instance.write(address, (-1 & 0xFFFFFFFF).to_bytes(4, "little"))
        assert instance.call("mlr_eval", 1) == -8
        assert instance.call("mlr_eval", 0) == -10
        assert instance.call("mlr_eval", int(instance.call("mlr_batch")) + 1) == -10
        assert instance.call("mlr_eval", -1) == -10
        assert instance.call("mlr_sample", 0, 0) == -10, "nothing has been evaluated yet"
        assert instance.call("mlr_logits", 0) == -10
        instance.write(address, bytes(4 * 64))
        assert instance.call("mlr_eval", 21) == -9


def test_a_closed_engine_says_so(model: Path) -> None:
    with open_kernel(model) as engine:
        engine.close()
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine.evaluate([1])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_trap_is_an_error_and_the_model_can_be_loaded_again(model: Path, threads: int) -> None:
    with open_kernel(model, threads=threads) as engine:
        engine.evaluate([1, 2, 3])
        expected = engine.logits().tobytes()
    with open_kernel(model, threads=threads) as engine:
        instance = engine._instance
        assert instance is not None
        tokens = int(instance.call("mlr_tokens")).to_bytes(4, "little")
        # the kernel's own pointer to the ids, in its data: send it out of memory
        pointer = instance.read(0, int(instance.call("mlr_tokens"))).index(tokens)
        instance.write(pointer, b"\xff" * 4)
        with pytest.raises(EngineError, match="failed"):
            engine.evaluate([1, 2, 3])
        with pytest.raises(EngineError):
            engine.evaluate([1])
    with open_kernel(model, threads=threads) as engine:
        engine.evaluate([1, 2, 3])
        assert engine.logits().tobytes() == expected


def test_a_thread_that_ended_without_a_word_is_an_error(model: Path) -> None:
    """The kernel waits ten seconds for a sign of life, then gives up."""
    with open_kernel(model, threads=2, started=1) as engine:
        for _ in range(2):
            with pytest.raises(EngineError, match="thread failed; load the model again"):
                engine.evaluate([1])


def test_numbers_that_are_not_finite_are_an_error(model: Path) -> None:
    with open_kernel(model) as engine:
        engine.evaluate([1, 2, 3])
        instance = engine._instance
        assert instance is not None
        nan = bytes.fromhex("0000c07f") * engine.vocabulary_size
        instance.write(int(instance.call("mlr_logits", 0)), nan)
        with pytest.raises(EngineError, match="not finite"):
            engine.sample()
        engine.configure(Sampling(temperature=1.0, top_k=5))
        with pytest.raises(EngineError, match="not finite"):
            engine.sample()


def test_memory_is_what_was_planned(model: Path) -> None:
    with open_kernel(model, context_length=64) as short, open_kernel(model) as long:
        assert short.memory.weights == long.memory.weights
        # one global layer of seven grows with the context; the others hold window + one pass
        assert short.memory.kv_cache < long.memory.kv_cache
        size = model.stat().st_size
        assert 0.8 * size < long.memory.weights < 1.1 * size


def test_a_memory_that_is_too_small_is_refused(model: Path) -> None:
    with open_kernel(model) as engine:
        plan = engine._plan
    kernel = host.WasmtimeKernel(host.PLANNER_PAGES)
    kernel.layout(plan.descriptor, KernelOptions(1 << 20, 1))
    assert kernel.call("mlr_feed", 0.0, 1) == -6
    with pytest.raises(EngineError, match="outside"):
        kernel.feed(0, b"x")
    kernel.close()


def test_a_memory_without_room_for_the_tables_of_tensors_is_refused(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "deep.gguf", architecture="llama", n_layers=20)
    with open_kernel(path) as engine:
        plan = engine._plan
    least = 3  # pages, without which the module has no room for its own data
    kernel = host.WasmtimeKernel(least)
    with pytest.raises(CapacityError):
        kernel.layout(plan.descriptor, plan.options)
    assert kernel.call("mlr_feed", 0.0, 1) == -7
    kernel.close()


@pytest.mark.parametrize("build", [*host.BUILDS, host.WIDE])
def test_the_largest_descriptor_is_read_on_a_planner_s_memory(build: str) -> None:
    """One of the right size that says nothing is refused for what it says, a larger one unread."""
    kernel = host.WasmtimeKernel(host.PLANNER_PAGES, build)
    size = int(kernel.call("mlr_staging_size"))
    with pytest.raises(LoadError, match="hyperparameters"):
        kernel.layout(b"\xff" * size, KernelOptions(16, 1))
    assert kernel.call("mlr_open", size + 1, 16, 1, 1, 0) == -1
    with pytest.raises(LoadError, match="too many tensors"):
        kernel.layout(bytes(size + 1), KernelOptions(16, 1))
    kernel.close()


def test_what_a_host_left_behind_the_descriptor_is_no_tensor(model: Path) -> None:
    with open_kernel(model) as engine:
        plan = engine._plan
        expected = logits_after(engine, PROMPT, 64)
    kernel = host.WasmtimeKernel(-(-plan.total_bytes // 65536))
    size = int(kernel.call("mlr_staging_size"))
    kernel.write(int(kernel.call("mlr_staging")), b"\x5a" * size)
    kernel.layout(plan.descriptor, plan.options)
    data = model.read_bytes()
    start = min(tensor.offset for tensor in read_gguf(BytesSource(data, "model")).tensors)
    kernel.feed(start, data[start:])
    kernel.start(1)
    engine = KernelEngine(kernel, plan, engine._config)
    assert logits_after(engine, PROMPT, 64) == expected
    engine.close()


@pytest.mark.parametrize("build", [*host.BUILDS, host.WIDE])
def test_tables_of_the_most_layers_fit_a_planner_s_memory(tmp_path: Path, build: str) -> None:
    path = tiny_gguf(
        tmp_path / "deep.gguf", architecture="llama", n_layers=256, n_embd=32, n_ff=32, n_vocab=301
    )
    with open_kernel(path, context_length=16, build=build) as engine:
        engine.evaluate(PROMPT[:5])
        assert engine.position() == 5


def test_weights_must_come_whole_and_in_order(model: Path) -> None:
    with open_kernel(model) as engine:
        plan = engine._plan
    pages = -(-plan.total_bytes // 65536)
    kernel = host.WasmtimeKernel(pages)
    kernel.layout(plan.descriptor, plan.options)
    with pytest.raises(LoadError, match="not all weights"):
        kernel.start(1)
    with pytest.raises(LoadError, match="out of order"):
        kernel.feed(1 << 40, b"x")
    kernel.close()


def test_reads_and_writes_stay_inside_the_memory() -> None:
    kernel = host.WasmtimeKernel(host.PLANNER_PAGES)
    end = host.PLANNER_PAGES * 65536
    for address, size in ((end, 1), (-1, 1), (end - 3, 4), (0, end + 1)):
        with pytest.raises(EngineError, match="outside"):
            kernel.read(address, size)
        if size < 10:
            with pytest.raises(EngineError, match="outside"):
                kernel.write(address, bytes(size))
    assert kernel.read(end - 4, 4) == bytes(4)
    kernel.close()


def test_staged_bytes_may_be_any_buffer() -> None:
    kernel = host.WasmtimeKernel(host.PLANNER_PAGES)
    address = int(kernel.call("mlr_staging"))
    for data in (b"abcd", memoryview(b"abcd"), memoryview(bytearray(b"abcd"))):
        kernel.write(address, bytes(4))
        kernel.write(address, data)
        assert kernel.read(address, 4) == b"abcd"
    kernel.close()


def test_weights_come_through_memory_that_is_used_again(model: Path) -> None:
    with open_kernel(model) as engine:
        engine.evaluate([1, 2, 3])
        kernel = engine._loaded("reading")
        assert kernel.call("mlr_staging") == kernel.call("mlr_logits", 0)
