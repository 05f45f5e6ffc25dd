"""The same logits, bit for bit: at any thread count, with every build, however a prompt is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mlr.engines.kernel.instance import CacheType
from mlr.engines.kernel.wasmtime import BUILDS
from mlr.errors import EngineError
from tests.support.kernels import every_logits, last_logits, open_kernel
from tests.support.tiny_cases import FLOAT_CASES, TYPE_CASES, TinyCase

# Longer than the kernel's passes of 64 tokens and than Gemma's ring of 80 positions.
LONG = [int(token) for token in np.random.default_rng(11).integers(3, 300, 150)]

CASES = [
    case
    for case in TYPE_CASES
    if "MIXED" in case.name or case.arguments["architecture"] in ("llama", "gemma3")
]
# The kernel has code of its own for few tokens and takes many in pairs: pieces of every size.
CUTS = {
    "one by one": [1] * 150,
    "growing pieces": [*range(1, 17), 14],
    "passes and a rest": [64, 64, 22],
    "more than a pass": [65, 85],
}


def logits_after(
    path: Path, pieces: Sequence[int], *, build: str = BUILDS[0], threads: int = 1
) -> bytes:
    """The bytes of the logits after LONG, evaluated in `pieces` of so many tokens."""
    assert sum(pieces) == len(LONG)
    with open_kernel(path, context_length=160, build=build, threads=threads) as engine:
        start = 0
        for piece in pieces:
            engine.evaluate(LONG[start : start + piece])
            start += piece
        return last_logits(engine).tobytes()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_threads_builds_and_cuts(case: TinyCase, tiny: Callable[[TinyCase], Path]) -> None:
    path, whole = tiny(case), [len(LONG)]
    expected = logits_after(path, whole)
    assert np.frombuffer(expected, np.float32).std() > 1
    for threads in (2, 4):
        assert logits_after(path, whole, threads=threads) == expected, f"{threads} threads"
    for build in BUILDS[1:]:
        assert logits_after(path, whole, build=build) == expected, build
        assert logits_after(path, whole, build=build, threads=2) == expected, f"{build}, 2 threads"
    for name, pieces in CUTS.items():
        assert logits_after(path, pieces) == expected, name
    for build in BUILDS[1:]:
        assert logits_after(path, CUTS["growing pieces"], build=build, threads=2) == expected, build


@pytest.mark.parametrize("kv_type", ["q16", "q8"])
@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("name", ["gemma3-MIXED", "llama-F32-narrow-heads"])
def test_every_token(
    name: str, threads: int, kv_type: CacheType, tiny: Callable[[TinyCase], Path]
) -> None:
    """Decoding: the phases are short here, so a race between them would show. There are fewer
    key/value heads than threads, one of 36 columns in the second model, and in some phases threads
    without a share of the tasks."""
    path = tiny(next(case for case in [*TYPE_CASES, *FLOAT_CASES] if case.name == name))
    with (
        open_kernel(path, threads=1, kv_type=kv_type) as one,
        open_kernel(path, threads=threads, kv_type=kv_type) as several,
    ):
        assert every_logits(one, LONG).tobytes() == every_logits(several, LONG).tobytes()


def test_truncating_goes_back_to_what_was(tiny: Callable[[TinyCase], Path]) -> None:
    """After `truncate` and other tokens, going back gives the bits of a fresh evaluation.

    A layer with a sliding window keeps a ring of keys, so it cannot go back for ever: then
    the kernel refuses, and says nothing wrong.
    """
    path = tiny(next(case for case in TYPE_CASES if case.name == "gemma3-Q8_0"))
    refused = 0
    with open_kernel(path, context_length=256) as engine, open_kernel(path) as fresh:
        engine.evaluate(LONG)
        for position in range(145, 5, -10):
            try:
                engine.truncate(position)
            except EngineError:
                refused += 1
                continue
            engine.evaluate([5, 6])
            fresh.truncate(0)
            fresh.evaluate([*LONG[:position], 5, 6])
            assert last_logits(engine).tobytes() == last_logits(fresh).tobytes()
        assert engine.position() < 150
        assert 0 < refused < 14
        engine.truncate(0)
        engine.evaluate(LONG)
        fresh.truncate(0)
        fresh.evaluate(LONG)
        assert last_logits(engine).tobytes() == last_logits(fresh).tobytes()
