"""Greedy choice by bounds: the token is that of all the logits, which the host still gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlr.engines.base import Sampling, Step
from mlr.engines.kernel.engine import KernelEngine
from mlr.engines.kernel.wasmtime import BUILDS
from mlr.errors import EngineError
from tests.support.kernels import last_logits, open_kernel
from tests.support.tiny_models import tiny_gguf

VOCABULARY = 3301  # several tasks of 512 rows, and a last tile that is not whole
BLOCK_BYTES = 34  # f16 scale, 32 weights

Head = NDArray[np.uint8]  # (VOCABULARY, blocks, BLOCK_BYTES), in the file


def model(folder: Path, *, tied: bool = True, change: Callable[[Head], None] | None = None) -> Path:
    path = folder / "model.gguf"
    tiny_gguf(
        path,
        quantization="Q8_0",
        tied=tied,
        positive_head=True,
        n_vocab=VOCABULARY,
        n_layers=1,
    )
    if change is None:
        return path
    name = "token_embd.weight" if tied else "output.weight"
    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == name)
    blocks = tensor.data.shape[-1] // BLOCK_BYTES
    head = np.memmap(
        path, np.uint8, "r+", int(tensor.data_offset), (VOCABULARY, blocks, BLOCK_BYTES)
    )
    change(head)
    head.flush()
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("head"))


def memory_of_logits(engine: KernelEngine, address: int, row: int = 0) -> NDArray[np.float32]:
    """What lies where the logits are, without asking for them."""
    instance = engine._instance
    assert instance is not None
    stride = -(-VOCABULARY // 8) * 8
    return np.frombuffer(instance.read(address + 4 * stride * row, 4 * VOCABULARY), "<f4")


def address_of_logits(engine: KernelEngine) -> int:
    """Where they are; the next pass then computes all of them, the one after that bounds."""
    instance = engine._instance
    assert instance is not None
    engine.evaluate([1])
    address = int(instance.call("mlr_logits", 0))
    engine.evaluate([1])
    engine.truncate(0)
    return address


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_largest_logit_is_chosen_by_bounds(plain: Path, build: str, threads: int) -> None:
    rng = np.random.default_rng(5)
    with open_kernel(plain, build=build, threads=threads) as engine:
        address = address_of_logits(engine)
        for _ in range(30):
            engine.truncate(0)
            engine.evaluate(rng.integers(0, VOCABULARY, 3).tolist())
            chosen = engine.sample()
            bounds = memory_of_logits(engine, address).copy()
            logits = last_logits(engine)
            assert chosen == int(np.argmax(logits))
            assert (bounds >= logits).all()
            assert (bounds > logits).mean() > 0.99, "the first pass was to compute bounds only"
            assert (bounds >= logits.max()).mean() < 0.5, "bounds that leave nothing out"
            engine.evaluate([1])  # computes the logits at once, as they were asked for
            engine.sample()
            assert memory_of_logits(engine, address).tobytes() == last_logits(engine).tobytes()
            engine.evaluate([2])


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=5), min_size=1, max_size=6
    )
)
def test_every_row_of_a_pass_is_chosen(plain: Path, prompts: list[list[int]]) -> None:
    with open_kernel(plain, threads=2, sequences=6) as engine:
        steps = [Step(i, prompt, "last") for i, prompt in enumerate(prompts)]
        engine.evaluate_batch(steps)
        chosen = [engine.sample(i, i) for i in range(len(steps))]
        logits = [np.array(engine.logits(i)) for i in range(len(steps))]
        assert chosen == [int(np.argmax(row)) for row in logits]
    with open_kernel(plain) as engine:
        for prompt, row in zip(prompts, logits, strict=True):
            engine.truncate(0)
            engine.evaluate(prompt)
            assert last_logits(engine).tobytes() == row.tobytes()


def test_passes_choose_again_after_one_that_did_not(plain: Path) -> None:
    with open_kernel(plain) as engine:
        address = address_of_logits(engine)
        engine.configure(Sampling(temperature=1.0, seed=3))
        engine.evaluate([1])
        engine.sample()
        engine.configure(Sampling())
        by_bounds = []
        for token in (2, 3, 4):
            engine.evaluate([token])
            engine.sample()
            by_bounds.append(memory_of_logits(engine, address).copy())
        engine.truncate(0)
        for token, found in zip((1, 2, 3, 4), (None, *by_bounds), strict=True):
            engine.evaluate([token])
            logits = last_logits(engine)
            if found is not None:
                assert (found >= logits).all()
                assert (token == 2) == (found.tobytes() == logits.tobytes())


def test_of_equal_logits_the_first_is_chosen(tmp_path: Path) -> None:
    def same_rows(head: Head) -> None:
        head[:] = head[7]

    with open_kernel(model(tmp_path, tied=False, change=same_rows), threads=2) as engine:
        for token in range(10):
            engine.evaluate([token])
            assert engine.sample() == 0


def test_where_bounds_leave_nothing_out_passes_do_without(tmp_path: Path) -> None:
    def same_rows(head: Head) -> None:
        head[:] = head[7]

    with open_kernel(model(tmp_path, tied=False, change=same_rows), threads=2) as engine:
        address = address_of_logits(engine)
        by_bounds = []
        for token in range(1, 21):
            engine.evaluate([token])
            assert engine.sample() == 0
            found = memory_of_logits(engine, address).copy()
            with open_kernel(tmp_path / "model.gguf") as other:
                other.evaluate(list(range(1, token + 1)))
                by_bounds.append(found.tobytes() != last_logits(other).tobytes())
        assert by_bounds == [i % 9 == 0 for i in range(20)]


def test_negative_scales_have_no_bounds_and_the_same_choice(tmp_path: Path) -> None:
    def flip(head: Head) -> None:
        head[1000:, :, 1] ^= 0x80

    rng = np.random.default_rng(6)
    with open_kernel(model(tmp_path, tied=False, change=flip), threads=2) as engine:
        address = address_of_logits(engine)
        for token in rng.integers(0, VOCABULARY, 20).tolist():
            engine.evaluate([token])
            chosen = engine.sample()
            computed = memory_of_logits(engine, address).copy()
            assert computed.tobytes() == last_logits(engine).tobytes()
            assert chosen == int(np.argmax(computed))
            engine.evaluate([token])


@pytest.mark.parametrize("scale", [0x7C00, 0x7E00])  # infinity, not a number
def test_rows_that_are_not_finite(tmp_path: Path, scale: int) -> None:
    """As with all the logits: infinity is an error, what is no number is never chosen."""

    def spoil(head: Head) -> None:
        head[2000, :, :2] = np.frombuffer(scale.to_bytes(2, "little"), np.uint8)

    with open_kernel(model(tmp_path, tied=False, change=spoil)) as engine:
        for token in range(20):
            engine.evaluate([token])
            try:
                chosen = engine.sample()
            except EngineError:
                chosen = None
            logits = last_logits(engine)
            logits[np.isnan(logits)] = -np.inf
            expected = int(np.argmax(logits))
            assert chosen == (expected if np.isfinite(logits[expected]) else None)
            engine.evaluate([token])


def test_settings_that_come_after_the_pass_hold(plain: Path) -> None:
    """A mask, penalties or a temperature need the other logits, which are then computed."""
    allowed = np.zeros(-(-VOCABULARY // 32) * 32, np.uint8)
    allowed[[5, 77, 3300]] = 1
    mask = np.packbits(allowed, bitorder="little").tobytes()
    with open_kernel(plain, threads=2) as engine:
        engine.evaluate([3, 1, 4])
        expected = last_logits(engine)
        for change in ("mask", "temperature", "none"):
            engine.truncate(0)
            engine.evaluate([3, 1, 4])
            engine.truncate(0)
            engine.configure(Sampling())
            engine.evaluate([3, 1, 4])
            if change == "mask":
                engine.set_mask(mask)
                assert engine.sample() == max([5, 77, 3300], key=lambda i: expected[i])
                engine.set_mask(None)
            elif change == "temperature":
                engine.configure(Sampling(temperature=1.0, top_k=1))
                assert engine.sample() == int(np.argmax(expected))
                [(token, value)] = engine.top(1)
                assert (token, engine.logprob(token)) == (int(np.argmax(expected)), value)
            assert last_logits(engine).tobytes() == expected.tobytes()
