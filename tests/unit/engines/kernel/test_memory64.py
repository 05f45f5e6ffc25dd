"""The build that addresses 64 bits: the same logits, and models that need more than 4 GiB."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mlr.bundle.reader import open_bundle
from mlr.engines.base import Step
from mlr.engines.kernel.abi import MAX_MEMORY
from mlr.engines.kernel.descriptor import build_descriptor
from mlr.engines.kernel.engine import KernelEngine
from mlr.engines.kernel.instance import KernelOptions
from mlr.engines.kernel.opening import open_engine
from mlr.engines.kernel.wasmtime import BUILDS, PLANNER_PAGES, WIDE, WasmtimeKernel
from mlr.errors import CapacityError
from mlr.hosts.cpython import CPythonHost
from mlr_build.cli import main
from tests.support.architectures import CASES, ArchitectureCase
from tests.support.kernels import open_kernel
from tests.support.tiny_models import tiny_gguf

TOKENS = [1, *range(3, 120)]
SEQUENCES = 64


DECODERS = [c for c in CASES.values() if c.config.causal and c.config.pooling == "none"]
POOLED = [case for case in CASES.values() if case not in DECODERS]


@pytest.mark.parametrize("case", DECODERS, ids=lambda case: case.name)
def test_the_same_logits(case: ArchitectureCase, tmp_path: Path) -> None:
    path = case.build(tmp_path, "Q4_0")
    logits = []
    for build, threads in (("relaxed", 1), (WIDE, 1), (WIDE, 3)):
        with open_kernel(path, context_length=128, threads=threads, build=build) as engine:
            engine.evaluate(TOKENS)
            engine.evaluate([7])
            logits.append(engine.logits().tobytes())
    assert logits == [logits[0]] * 3


@pytest.mark.parametrize("case", POOLED, ids=lambda case: case.name)
def test_the_same_embeddings(case: ArchitectureCase, tmp_path: Path) -> None:
    path = case.build(tmp_path, "Q4_0")
    embeddings = []
    for build in ("relaxed", WIDE):
        with open_kernel(path, context_length=128, threads=2, build=build) as engine:
            embeddings.append([bytes(row) for row in engine.embed([TOKENS, TOKENS[:9]])])
    assert embeddings[0] == embeddings[1]


class RoomyHost(CPythonHost):
    """A machine that does not tell how much memory it has."""

    def memory_available(self) -> int | None:
        return None


class NarrowHost(RoomyHost):
    """One whose WebAssembly has 32-bit memories only."""

    memory64 = False


@pytest.fixture(scope="module")
def large_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a small model whose KV cache takes 32 kB a token."""
    folder = tmp_path_factory.mktemp("large")
    sizes: dict[str, Any] = {"n_layers": 8, "n_heads": 8, "n_kv_heads": 8, "head_dim": 128}
    source = tiny_gguf(folder / "large.gguf", context_length=4096, **sizes)
    assert main(["package", str(source), "--out", str(folder / "large"), "--name", "large"]) == 0
    return folder / "large"


async def load(
    path: Path, host: CPythonHost, sequences: int, context_length: int = 4096
) -> KernelEngine:
    bundle = await open_bundle(path, host)
    return await open_engine(
        bundle,
        bundle.manifest.variants[0],
        host,
        threads=2,
        context_length=context_length,
        sequences=sequences,
        kv_type="q16",
        memory_limit=None,
        on_progress=None,
    )


def test_a_cache_beyond_4_gib(large_cache: Path) -> None:
    """Memory that nothing is written to is not taken, so this test needs little of it."""
    engine = asyncio.run(load(large_cache, RoomyHost(), SEQUENCES))
    small = asyncio.run(load(large_cache, RoomyHost(), 1))
    try:
        assert engine.memory.kv_cache > MAX_MEMORY
        assert "64-bit addresses" in engine.detail
        assert "64-bit addresses" not in small.detail
        small.evaluate(TOKENS)
        expected = small.logits().tobytes()
        first, last = Step(0, TOKENS[:30], "none"), Step(SEQUENCES - 1, TOKENS[:30], "none")
        engine.evaluate_batch([first, last])
        for sequence in (0, SEQUENCES - 1):
            engine.evaluate(TOKENS[30:], sequence=sequence)
            assert engine.logits().tobytes() == expected
    finally:
        engine.close()
        small.close()


async def layout_bytes(path: Path, build: str, sequences: int, context_length: int) -> int:
    """What a model takes in a build, whether that addresses it or not."""
    bundle = await open_bundle(path, RoomyHost())
    variant = bundle.manifest.variants[0]
    kernel = WasmtimeKernel(PLANNER_PAGES, build)
    try:
        kernel.layout(
            build_descriptor(variant.config, variant.tensors),
            KernelOptions(context_length, 2, sequences),
        )
        return int(kernel.call("mlr_bytes", 0))
    finally:
        kernel.close()


def test_at_the_edge_of_4_gib(large_cache: Path) -> None:
    """Passes of the build for 64 bits are shorter, so it may take less than 4 GiB where the other
    takes more.
    """
    sequences, context = SEQUENCES // 2, 4096  # 1 MB a position
    while asyncio.run(layout_bytes(large_cache, BUILDS[0], sequences, context - 1)) > MAX_MEMORY:
        context -= 1
    assert asyncio.run(layout_bytes(large_cache, WIDE, sequences, context)) <= MAX_MEMORY
    for length, wide in ((context, True), (context - 1, False)):
        engine = asyncio.run(load(large_cache, RoomyHost(), sequences, length))
        try:
            assert ("64-bit addresses" in engine.detail) == wide
            engine.evaluate(TOKENS)
        finally:
            engine.close()


def test_a_host_without_64_bit_memories_refuses(large_cache: Path) -> None:
    with pytest.raises(
        CapacityError, match=r"32-bit WebAssembly memory of this host holds 4,295 MB"
    ):
        asyncio.run(load(large_cache, NarrowHost(), SEQUENCES))
