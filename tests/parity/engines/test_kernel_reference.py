"""The kernel's logits against the reference engine in float64, which shares no code with it.

The kernel rounds on purpose, as llama.cpp does: activations to 8 bits before a quantized
matrix, and what attention multiplies to 16. Its remaining error is that of float32 sums, about
1e-7. Two comparisons follow, and neither has a tolerance chosen by trial:

*Against exact arithmetic.* The reference engine says what the rounding itself costs: the
distance between its exact logits and its logits with `kernel_rounding`. The kernel may be
no more than 1.3 times as far from the exact ones. (1% to 5% of the logits' deviation on
quantized models, 0.02% on float ones, where only attention rounds.)

*Against the same rounding.* Here float32 sums are all that differs. But a difference of 1e-7
can push a value over the edge between two of the 8-bit steps, and that step, about 1/127 of
a value, comes out at 1e-2 in the logits; over several layers almost every token meets such an
edge (llama.cpp differs from itself for the same reason). So: with one layer, most tokens meet
none, and the median token agrees to 1e-5 of the deviation (float models: 1e-4, because the edges
of 16 bits are hundreds of times as dense, every token meets some, and a step is as much smaller);
and through all layers, the first token to meet none agrees as well. In float models, where there is
none such, few numbers meet an edge: with one in a hundred of them off by a step, which is sqrt(12)
times the deviation of rounding, the difference is 0.35 times what rounding itself costs; 0.6 is
allowed. A wrong layout, norm, rotation, scale or window cannot hide in that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mlr.engines.reference import ReferenceEngine
from tests.support.kernels import every_logits, open_kernel
from tests.support.tensors import read_tensors
from tests.support.tiny_cases import FLOAT_CASES, TOKENS, TYPE_CASES, TinyCase

CASES = list({case.name: case for case in [*TYPE_CASES, *FLOAT_CASES]}.values())
FLOATS = ("F32", "F16", "BF16")


def reference(path: Path, tokens: list[int], *, kernel_rounding: bool) -> NDArray[np.float64]:
    """The logits after each of `tokens`, in float64."""
    engine = ReferenceEngine.from_tensors(
        *read_tensors(path), len(tokens), "float64", kernel_rounding=kernel_rounding
    )
    return engine.evaluate_all(tokens)


def kernel(path: Path, tokens: list[int]) -> NDArray[np.float32]:
    """The same, by the kernel."""
    with open_kernel(path, context_length=len(tokens)) as engine:
        return every_logits(engine, tokens)


def rms(x: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(x * x)))


def largest_of_each_token(
    ours: NDArray[np.float32], theirs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The largest difference in each token's logits, over their standard deviation."""
    largest: NDArray[np.float64] = np.abs(ours - theirs).max(axis=1)
    return largest / float(theirs.std())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_all_layers(case: TinyCase, tiny: Callable[[TinyCase], Path]) -> None:
    path = tiny(case)
    ours = kernel(path, TOKENS)
    exact = reference(path, TOKENS, kernel_rounding=False)
    rounded = reference(path, TOKENS, kernel_rounding=True)
    assert rms(ours - exact) < 1.3 * rms(rounded - exact)
    if case.arguments["quantization"] in FLOATS:
        assert rms(ours - rounded) < 0.6 * rms(rounded - exact)
    else:
        assert largest_of_each_token(ours, rounded).min() < 3e-5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_layer(case: TinyCase, tiny: Callable[[TinyCase], Path]) -> None:
    arguments = case.arguments | {"n_layers": 1}
    path = tiny(replace(case, name=f"{case.name}-1-layer", arguments=arguments))
    differences = largest_of_each_token(
        kernel(path, TOKENS), reference(path, TOKENS, kernel_rounding=True)
    )
    most = 1e-4 if case.arguments["quantization"] in FLOATS else 1e-5
    assert np.median(differences) < most


def test_a_sliding_window_that_wraps_around(tiny: Callable[[TinyCase], Path]) -> None:
    """200 tokens with a window of 16: the ring of keys (80 positions) is written over twice."""
    case = TinyCase("wrap", {"architecture": "gemma3", "quantization": "F32"})
    path, tokens = tiny(case), [int(t) for t in np.random.default_rng(1).integers(3, 300, 200)]
    ours, rounded = kernel(path, tokens), reference(path, tokens, kernel_rounding=True)
    # F32 weights, so every token is close; the window forgets, so errors do not pile up.
    assert largest_of_each_token(ours, rounded).max() < 5e-3
    assert largest_of_each_token(ours, rounded)[100:].mean() < 1e-3
