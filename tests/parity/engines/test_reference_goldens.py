"""The reference engine against llama.cpp's logits on tiny models of every kind.

In float32 models nothing is rounded to few bits, so the two differ by the rounding of sums
alone, of which llama.cpp's in float32 are the larger: measured 5e-6 to 2e-5 of logits whose
standard deviation is 4. Gemma 3 is apart because llama.cpp looks GELU up in a table of float16
(11 bits, 5e-4 relative), which grows to 1e-2 over seven layers.

In quantized models llama.cpp rounds activations to 8 bits and the reference, in float64, does
not: the tolerances for those say how large that error is, about 1% to 5% of the logits'
deviation. A mistake in a type's layout gives logits that have nothing in common.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlr.engines.reference import ReferenceEngine
from tests.support.tensors import read_tensors
from tests.support.tiny_cases import (
    FLOAT_CASES,
    POSITIONS,
    TOKENS,
    TYPE_CASES,
    TinyCase,
    digest,
)

GOLDEN = Path(__file__).parent / "golden" / "tiny.npz"

# Largest root mean square of the differences, relative to the logits' standard deviation.
# Measured on Gemma 3, the deepest: F16 0.0012, BF16 0.008, blocks of 32 0.03, of 256 0.045.
RELATIVE_RMS = {
    "F32": 0.001,
    "F16": 0.003,
    "BF16": 0.02,
    "Q4_0": 0.06,
    "Q5_0": 0.06,
    "Q8_0": 0.06,
    "Q4_K": 0.09,
    "Q6_K": 0.09,
    "Q4_1": 0.06,
    "Q5_1": 0.06,
    "IQ4_NL": 0.06,
    "MXFP4": 0.06,
    "Q2_K": 0.09,
    "Q3_K": 0.09,
    "Q5_K": 0.09,
    "IQ4_XS": 0.09,
    "TQ1_0": 0.09,
    "TQ2_0": 0.09,
    "MIXED": 0.09,
}


def compare(case: TinyCase, path: Path, group: str) -> tuple[np.ndarray, np.ndarray]:
    """The reference engine's logits and llama.cpp's at the positions that were kept."""
    with np.load(GOLDEN) as golden:
        expected = golden[f"{group}/{case.name}"]
        assert str(golden[f"{group}/{case.name}/sha256"]) == digest(path), (
            "the tiny models have changed: make the golden files again (make_goldens.py)"
        )
    engine = ReferenceEngine.from_tensors(*read_tensors(path), len(TOKENS), "float64")
    return engine.evaluate_all(TOKENS)[POSITIONS[group]], expected


@pytest.mark.parametrize("case", FLOAT_CASES, ids=lambda case: case.name)
def test_float_models(case: TinyCase, tiny: Callable[[TinyCase], Path]) -> None:
    ours, expected = compare(case, tiny(case), "floats")
    table_of_gelu = case.arguments["architecture"] == "gemma3"
    assert np.abs(ours - expected).max() < (3e-2 if table_of_gelu else 1e-4)


@pytest.mark.parametrize("case", TYPE_CASES, ids=lambda case: case.name)
def test_every_type(case: TinyCase, tiny: Callable[[TinyCase], Path]) -> None:
    ours, expected = compare(case, tiny(case), "types")
    rms = np.sqrt(np.mean((ours - expected) ** 2)) / ours.std()
    assert rms < RELATIVE_RMS[case.arguments["quantization"]]
