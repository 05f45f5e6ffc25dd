"""Every architecture in the kernel against the reference engine in float64, and bit for bit.

The comparisons and their tolerances are those of `test_kernel_reference`, where the reasons are:
the kernel may be no more than 1.3 times as far from exact arithmetic as its rounding explains; and
with F32 matrices, few numbers meet an edge between two steps of the rounding.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlr.engines.reference import ReferenceEngine
from mlr.formats.gguf import read_gguf
from mlr.formats.source import BytesSource
from tests.support.architectures import CASES, ArchitectureCase
from tests.support.kernels import every_logits, last_logits, open_kernel
from tests.support.tensors import read_tensors

DECODERS = [c for c in CASES.values() if c.config.causal and c.config.pooling == "none"]

POOLED = [case for case in CASES.values() if case.config.pooling != "none"]

# Past the windows, past LongRoPE's and YaRN's original context of 32, and past a pass of 64.
TOKENS = [int(token) for token in np.random.default_rng(3).integers(3, 300, 80)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("architectures")


def reference(path: Path, *, kernel_rounding: bool) -> NDArray[np.float64]:
    """The logits after each of TOKENS, in float64."""
    engine = ReferenceEngine.from_tensors(
        *read_tensors(path), len(TOKENS), "float64", kernel_rounding=kernel_rounding
    )
    return engine.evaluate_all(TOKENS)


def rms(x: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(x * x)))


@pytest.mark.parametrize("weight_type", ["F32", "Q8_0"])
@pytest.mark.parametrize("case", DECODERS, ids=lambda case: case.name)
def test_logits(case: ArchitectureCase, weight_type: str, folder: Path) -> None:
    path = case.build(folder, weight_type)
    exact = reference(path, kernel_rounding=False)
    rounded = reference(path, kernel_rounding=True)
    with open_kernel(path, context_length=len(TOKENS)) as engine:
        ours = every_logits(engine, TOKENS)
    assert rms(ours - exact) < 1.3 * rms(rounded - exact)
    if weight_type == "F32":
        assert rms(ours - rounded) < 0.6 * rms(rounded - exact)


@pytest.mark.parametrize(
    ("name", "weight_type"),
    [
        *(("qwen2moe", weight_type) for weight_type in ("Q4_0", "Q8_0", "Q4_K", "Q6_K")),
        *(("bitnet", weight_type) for weight_type in ("TQ1_0", "TQ2_0")),
        *(("bitnet-b1.58", weight_type) for weight_type in ("TQ1_0", "TQ2_0")),
    ],
)
def test_wide_rows(name: str, weight_type: str, folder: Path) -> None:
    """Rows of the tiny cases are too short for some types, and for gemm.c."""
    small = CASES[name]
    sizes: dict[str, Any] = {"n_embd": 256, "n_ff": 256, "head_dim": 64, "rope_dim": 64}
    if small.config.n_experts:
        sizes |= {"n_ff_expert": 256, "n_ff_shared": 256}
    config = replace(small.config, n_layers=1, **sizes)
    case = replace(small, name=f"wide-{name}", config=config)
    path = case.build(folder, weight_type)
    rounded = reference(path, kernel_rounding=True)
    exact = reference(path, kernel_rounding=False)
    with open_kernel(path, context_length=len(TOKENS), threads=2) as engine:
        ours = every_logits(engine, TOKENS)
        engine.truncate(0)
        engine.evaluate(TOKENS)
        assert last_logits(engine).tobytes() == ours[-1].tobytes()
    assert rms(ours - exact) < 1.3 * rms(rounded - exact)


@pytest.mark.parametrize("weight_type", ["F32", "Q4_0"])
@pytest.mark.parametrize("case", DECODERS, ids=lambda case: case.name)
def test_threads_builds_and_cuts(case: ArchitectureCase, weight_type: str, folder: Path) -> None:
    path = case.build(folder, weight_type)

    def logits(pieces: list[int], build: str = "relaxed", threads: int = 1) -> bytes:
        with open_kernel(path, context_length=80, build=build, threads=threads) as engine:
            for end in np.cumsum(pieces):
                engine.evaluate(TOKENS[engine.position() : int(end)])
            return last_logits(engine).tobytes()

    expected = logits([80])
    assert logits([80], threads=3) == expected
    assert logits([80], "simd") == expected
    assert logits([1] * 80, threads=2) == expected
    assert logits([7, 2, 3, 64, 4], "simd", 2) == expected


TEXTS = [TOKENS[:1], TOKENS[:50], TOKENS[3:20], TOKENS, TOKENS[10:75], TOKENS[:2]]
SECONDS = [0, 20, 17, 1, 60, 1]  # where in each a second text begins


@pytest.mark.parametrize("weight_type", ["F32", "Q8_0"])
@pytest.mark.parametrize("case", POOLED, ids=lambda case: case.name)
def test_embeddings(case: ArchitectureCase, weight_type: str, folder: Path) -> None:
    """The largest error of any number, at most twice what the rounding makes it: 2 instead of 1.3
    because this is a maximum of a few hundred numbers and not a mean of thousands.
    """
    path = case.build(folder, weight_type)
    exact, rounded = (
        ReferenceEngine.from_tensors(
            *read_tensors(path), len(TOKENS), "float64", kernel_rounding=rounding
        )
        for rounding in (False, True)
    )
    with open_kernel(path, context_length=len(TOKENS)) as engine:
        ours = [np.array(embedding) for embedding in engine.embed(TEXTS, seconds=SECONDS)]
    pairs = list(zip(TEXTS, SECONDS, strict=True))
    truth = [exact.embedding(text, second) for text, second in pairs]
    assert [len(row) for row in ours] == [len(row) for row in truth]
    far = max(np.abs(a - b).max() for a, b in zip(ours, truth, strict=True))
    explained = max(
        np.abs(rounded.embedding(text, second) - row).max()
        for (text, second), row in zip(pairs, truth, strict=True)
    )
    assert far < 2 * explained


def test_types_of_tokens(folder: Path) -> None:
    """A token's type counts and is held to its range; hosts that set none have zeros."""
    case = next(case for case in POOLED if case.config.token_types == 2)
    text = TOKENS[:12]
    with open_kernel(case.build(folder, "F32"), context_length=64) as engine:
        plain = bytes(engine.embed([text])[0])
        found = [bytes(engine.embed([text], seconds=[place])[0]) for place in range(13)]
        assert len(set(found)) == 13
        assert found[12] == plain == bytes(engine.embed([text])[0])
        kernel = engine._instance
        assert kernel is not None
        kernel.write(int(kernel.call("mlr_token_types")) + 4 * 5, struct.pack("<I", 2))
        engine._written.clear()
        assert kernel.call("mlr_eval", 12) == -10
        assert bytes(engine.embed([text])[0]) == plain


@pytest.mark.parametrize("build", ["relaxed", "relaxed64"])
@pytest.mark.parametrize("texts", [[2**32 - 1], [1], [0, 2], [0, 2**32 - 1], [0, 1, 0]])
def test_texts_are_numbered_from_0_on(texts: list[int], build: str, folder: Path) -> None:
    case = CASES["bert"]
    with open_kernel(case.build(folder, "F32"), context_length=64, build=build) as engine:
        plain = bytes(engine.embed([TOKENS[:5]])[0])
        kernel = engine._instance
        assert kernel is not None
        kernel.write(
            int(kernel.call("mlr_token_sequences")), struct.pack(f"<{len(texts)}I", *texts)
        )
        engine._written.clear()
        assert kernel.call("mlr_eval", len(texts)) == -10
        assert bytes(engine.embed([TOKENS[:5]])[0]) == plain


@pytest.mark.parametrize("weight_type", ["F32", "Q4_0"])
@pytest.mark.parametrize("case", POOLED, ids=lambda case: case.name)
def test_packing(case: ArchitectureCase, weight_type: str, folder: Path) -> None:
    """A text's embedding depends on neither the texts beside it, nor threads, nor the build."""
    path = case.build(folder, weight_type)
    with open_kernel(path, context_length=len(TOKENS)) as engine:
        alone = [bytes(engine.embed([text])[0]) for text in TEXTS]
    for build, threads in (("relaxed", 1), ("relaxed", 3), ("simd", 1), ("simd", 2)):
        with open_kernel(path, context_length=128, build=build, threads=threads) as engine:
            assert [bytes(row) for row in engine.embed(TEXTS)] == alone
            assert [bytes(row) for row in engine.embed(TEXTS[::-1])] == alone[::-1]


@pytest.mark.parametrize("weight_type", ["F32", "Q4_0"])
@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_weights_of_any_bytes_do_not_trap(
    case: ArchitectureCase, weight_type: str, folder: Path, tmp_path: Path
) -> None:
    """NaN, infinities, and routers that prefer no expert: the numbers are wrong, nothing else."""
    data = bytearray(case.build(folder, weight_type).read_bytes())
    start = min(t.offset for t in read_gguf(BytesSource(bytes(data), case.name)).tensors)
    data[start:] = np.random.default_rng(5).bytes(len(data) - start)
    path = tmp_path / "damaged.gguf"
    path.write_bytes(data)
    with open_kernel(path, context_length=len(TOKENS), threads=2) as engine:
        if case.config.pooling == "none":
            engine.evaluate(TOKENS)
        else:
            engine.embed(TEXTS)
