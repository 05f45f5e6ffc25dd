"""The kernel's exports called with anything, in any order, with anything in its buffers."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mlr.engines.kernel.descriptor import build_descriptor
from mlr.engines.kernel.engine import KernelEngine
from mlr.engines.kernel.wasmtime import BUILDS, PLANNER_PAGES, WIDE, WasmtimeKernel
from mlr.errors import MlrError
from mlr.formats.gguf import read_gguf
from mlr.formats.model_config import ModelConfig
from mlr.formats.source import BytesSource
from tests.fuzz.mutate import INTERESTING, mutate
from tests.support.architectures import CASES
from tests.support.kernels import open_kernel
from tests.support.tiny_models import QUANTIZATIONS, tiny_gguf

__all__ = ["call_fuzzer", "descriptor_fuzzer", "weight_fuzzer"]

PROMPT = [1, 5, 9, 200, 3, 7]
# These end the instance, by design; a worker waits for work.
NOT_CALLED = {"mlr_close", "mlr_abort", "mlr_worker"}
FLOATS = (0.0, 0.5, 1.0, -1.0, 2.0, 1e30, float("nan"), float("inf"), -float("inf"))
CALLS = 40


def descriptor_fuzzer(folder: Path) -> Callable[[random.Random], None]:
    """A round: `mlr_open` with a damaged descriptor answers, and never traps."""
    descriptors = []
    for architecture in ("gemma3", "qwen3"):
        path = tiny_gguf(folder / f"{architecture}.gguf", architecture=architecture)
        descriptors.append(_descriptor(path.read_bytes()))

    def fuzz(random: random.Random) -> None:
        kernel = WasmtimeKernel(PLANNER_PAGES, random.choice(BUILDS))
        try:
            damaged = mutate(random.choice(descriptors), random)[: 1 << 20]
            kernel.write(int(kernel.call("mlr_staging")), damaged)
            size = len(damaged) if random.random() < 0.9 else random.choice(INTERESTING)
            limits = (random.choice((1, 300, 5000, 2**24)), random.choice((1, 2, 64)))
            sequences, flags = random.choice((1, 2, 64)), random.choice((0, 1))
            if random.random() < 0.1:
                sequences, flags = (_signed(random.choice(INTERESTING)) for _ in range(2))
            answer = kernel.call("mlr_open", _signed(size), *limits, sequences, flags)
            assert -100 < answer <= 0
            assert 0 <= kernel.call("mlr_bytes", 0) < 2**80
            if answer == 0:  # laid out for far more memory than is here
                kernel.call("mlr_feed", 0.0, 64)
                kernel.call("mlr_ready")
        finally:
            kernel.close()

    return fuzz


def _descriptor(data: bytes) -> bytes:
    file = read_gguf(BytesSource(data, "tiny"))
    shapes = {tensor.name: tensor.shape for tensor in file.tensors}
    return build_descriptor(ModelConfig.from_gguf(file.metadata, shapes), file.tensors)


@contextmanager
def call_fuzzer(folder: Path) -> Iterator[Callable[[random.Random], None]]:
    """A round: a row of calls with random arguments; afterwards the model says what it said."""
    with ExitStack() as stack:
        engines = []
        paths = [
            tiny_gguf(folder / f"{architecture}.gguf", architecture=architecture)
            for architecture in ("gemma3", "llama")
        ]
        # an encoder, a decoder that pools, experts
        paths += [CASES[name].build(folder) for name in ("bert", "qwen3-embedding", "qwen2moe")]
        # with 64 bits an index that wraps around leaves the memory
        for path, build in itertools.product(paths, (BUILDS[0], WIDE)):
            engine = stack.enter_context(
                open_kernel(path, context_length=96, sequences=3, threads=1, build=build)
            )
            engines.append((engine, _say(engine)))

        def fuzz(random: random.Random) -> None:
            engine, said = random.choice(engines)
            kernel: Any = engine._instance
            exports = _exports(kernel)
            for _ in range(CALLS):
                if random.random() < 0.4:
                    _fill_buffers(kernel, random)
                name = random.choice(sorted(exports.keys() - NOT_CALLED))
                answer = kernel.call(name, *(_argument(kind, random) for kind in exports[name]))
                assert name != "mlr_sample" or answer < engine.vocabulary_size
            assert _say(engine) == said

        yield fuzz


def _say(engine: KernelEngine) -> bytes:
    """The logits of a prompt, asked for from the beginning, or its embedding."""
    engine._written.clear()  # there is something else now
    kernel: Any = engine._instance
    if engine._config.pooling != "none":
        return bytes(engine.embed([PROMPT])[0])
    for i, token in enumerate(PROMPT):
        kernel.write(int(kernel.call("mlr_tokens")) + 4 * i, struct.pack("<i", token))
        kernel.write(int(kernel.call("mlr_token_sequences")) + 4 * i, struct.pack("<I", 1))
        wanted = i == len(PROMPT) - 1
        kernel.write(int(kernel.call("mlr_wanted")) + 4 * i, struct.pack("<I", wanted))
    assert kernel.call("mlr_truncate", 1, 0) == 0
    assert kernel.call("mlr_eval", len(PROMPT)) == 0
    logits: bytes = kernel.read(int(kernel.call("mlr_logits", 0)), 4 * engine.vocabulary_size)
    return logits


def _exports(kernel: Any) -> dict[str, list[str]]:
    """The kernel's functions: name to the types of their parameters."""
    functions = {}
    for export in kernel._module.exports:
        if export.name.startswith("mlr_"):
            functions[export.name] = [str(kind) for kind in export.type.params]
    return functions


def _argument(kind: str, random: random.Random) -> float:
    if kind == "i32":
        return _signed(random.choice((random.randrange(8), random.choice(INTERESTING))))
    return random.choice((*FLOATS, float(random.choice(INTERESTING)), float(random.randrange(200))))


def _signed(value: int) -> int:
    """The low 32 bits, as the signed number that WebAssembly calls take."""
    value &= 2**32 - 1
    return value - 2**32 if value >= 2**31 else value


def _fill_buffers(kernel: Any, random: random.Random) -> None:
    batch = int(kernel.call("mlr_batch"))
    ids = (0, 1, 5, 200, 299, 300, 2**31 - 1, 2**32 - 1)
    for name, values in (
        ("mlr_tokens", ids if random.random() < 0.3 else (1, 5, 200)),
        ("mlr_token_sequences", (0, 1, 2, 3, 2**32 - 1) if random.random() < 0.3 else (0, 1, 2)),
        ("mlr_wanted", (0, 0, 0, 0, 1)),
        ("mlr_token_types", (0, 0, 0, 1, 2, 2**32 - 1) if random.random() < 0.3 else (0, 1)),
    ):
        row = struct.pack(f"<{batch}I", *(random.choice(values) for _ in range(batch)))
        kernel.write(int(kernel.call(name)), row)
    size = int(kernel.call("mlr_staging_size"))
    kernel.write(int(kernel.call("mlr_staging")), random.randbytes(min(4096, size)))


def weight_fuzzer(folder: Path) -> Callable[[random.Random], None]:
    """A round: a model whose weights are noise, infinities and NaN included.

    Its numbers mean nothing, but evaluating and sampling end in tokens of the vocabulary or in
    one of mlr's errors.
    """
    paths = [
        tiny_gguf(folder / f"{kind}.gguf", architecture="llama", quantization=kind)
        for kind in QUANTIZATIONS
    ]
    cases = [
        case for case in CASES.values() if case.config.causal and case.config.pooling == "none"
    ]
    paths += [case.build(folder, kind) for case in cases for kind in ("F16", "Q8_0")]

    def fuzz(random: random.Random) -> None:
        damaged = bytearray(random.choice(paths).read_bytes())
        start = read_gguf(BytesSource(bytes(damaged), "whole")).data_offset
        for _ in range(random.choice((1, 20, 400))):
            at = random.randrange(start, len(damaged) - 64)
            damaged[at : at + 64] = random.choice(
                (random.randbytes(64), b"\xff" * 64, b"\x00\x7c" * 32)
            )
        path = folder / "damaged.gguf"
        path.write_bytes(damaged)
        with open_kernel(path, context_length=64, build=random.choice(BUILDS)) as engine:
            try:
                engine.evaluate(PROMPT)
                token = engine.sample()
                assert 0 <= token < engine.vocabulary_size
                engine.evaluate([token])
            except MlrError as error:
                if "not finite" not in str(error):
                    raise

    return fuzz
