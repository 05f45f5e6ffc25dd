"""Attention's integer sums where they are largest: 32 bits hold them with 0.2% to spare.

Overflow would turn a sum's sign, and what attention gives would have nothing to do with what it
should. All models here are one layer of F32 matrices, so nothing else is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from mlr.engines.kernel.instance import CacheType
from mlr.engines.reference import ReferenceEngine
from tests.support.kernels import every_logits, open_kernel
from tests.support.tensors import read_tensors
from tests.support.tiny_models import tiny_gguf

TOKENS = [int(token) for token in np.random.default_rng(2).integers(3, 300, 128)]
SIGNS = np.random.default_rng(3).choice([-100, 100], 32).astype(np.float32)

# Queries and keys of a position that are nearly the same: with their norms at the limit, so is
# their product. Then queries of zeros, so that all positions weigh the same, and values that are
# nearly the same: whole blocks of weights that add up to the limit, times values at theirs.
EXTREMES: dict[str, dict[str, NDArray[np.float32]]] = {
    "keys": {"attn_q.bias": SIGNS, "attn_k.bias": SIGNS},
    "values": {
        "attn_q.weight": np.zeros(1, np.float32),
        "attn_q.bias": np.zeros(1, np.float32),
        "attn_v.bias": SIGNS,
    },
}


def write_tensors(path: Path, values: Mapping[str, NDArray[np.float32]]) -> None:
    """Repeat `values` all over the F32 tensors of the first layer that they name."""
    places = {
        t.name: (int(t.data_offset), int(t.n_elements)) for t in gguf.GGUFReader(path).tensors
    }
    with path.open("r+b") as file:
        for name, numbers in values.items():
            offset, count = places[f"blk.0.{name}"]
            file.seek(offset)
            file.write(np.resize(numbers, count).tobytes())


@pytest.mark.parametrize("kv_type", ["q16", "q8"])
@pytest.mark.parametrize("kind", EXTREMES)
def test_sums_do_not_overflow(kind: str, kv_type: CacheType, tmp_path: Path) -> None:
    """The error is that of the rounding: with 16 bits 2^-14 of the largest at most, here of
    values of 100 that the norm and the head turn into logits; with 8 bits 2^-8."""
    path = tiny_gguf(tmp_path / "m.gguf", architecture="qwen2", quantization="F32", n_layers=1)
    write_tensors(path, EXTREMES[kind])
    exact = ReferenceEngine.from_tensors(*read_tensors(path), len(TOKENS), "float64")
    expected = exact.evaluate_all(TOKENS)
    with open_kernel(path, context_length=len(TOKENS), kv_type=kv_type) as engine:
        ours = every_logits(engine, TOKENS)
    error = np.abs(ours - expected).max() / expected.std()
    assert error < (2e-3 if kv_type == "q16" else 5e-2)
