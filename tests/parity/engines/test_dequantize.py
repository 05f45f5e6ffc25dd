"""Dequantization against the `gguf` package, bit for bit, on blocks of random bytes."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from mlr.engines.reference.dequantize import dequantize
from mlr.errors import RequestError, UnsupportedModelError
from tests.support.weights import BLOCK, SCALES


def random_blocks(type_name: str, count: int) -> bytes:
    """Blocks of any bytes, but with finite scales: those of every magnitude, and subnormal."""
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (count, BLOCK[type_name][1]), dtype=np.uint8)
    for offset in SCALES.get(type_name, []):
        high = blocks[:, offset + 1]
        high[(high & 0x7C) == 0x7C] &= 0xBF
    if type_name == "MXFP4":
        blocks[:, 0] = np.minimum(blocks[:, 0], 250)  # 12 * 2^(250 - 128) is below the highest
    if type_name in ("F32", "F16", "BF16"):
        blocks[:, -1] &= 0xBF  # keeps the exponent off its highest value
    return blocks.tobytes()


@pytest.mark.parametrize("type_name", BLOCK)
def test_equals_gguf(type_name: str) -> None:
    values, size = BLOCK[type_name]
    rows, columns = 64, values * max(3, 96 // values)
    data = random_blocks(type_name, rows * columns // values)
    kind = gguf.GGMLQuantizationType[type_name]
    raw = np.frombuffer(data, np.uint8).reshape(rows, -1)
    expected = gguf.quants.dequantize(raw, kind).reshape(rows, columns)

    ours = dequantize(type_name, data, (rows, columns))
    assert ours.dtype == np.float32
    assert ours.tobytes() == np.ascontiguousarray(expected, np.float32).tobytes()
    assert len(data) == rows * columns // values * size


@pytest.mark.parametrize("type_name", BLOCK)
def test_float32_is_float64_rounded_once(type_name: str) -> None:
    """Every product fits float32; only sums, of a minimum, can need rounding, and once."""
    data = random_blocks(type_name, 256)
    shape = (256 * BLOCK[type_name][0],)
    exact, rounded = (dequantize(type_name, data, shape, d) for d in ("float64", "float32"))
    assert np.array_equal(exact.astype(np.float32), rounded)


def test_wrong_size_and_unknown_type_are_refused() -> None:
    with pytest.raises(RequestError, match=r"Q8_0 tensor of shape \(2, 32\)"):
        dequantize("Q8_0", bytes(67), (2, 32))
    with pytest.raises(RequestError, match="Q4_K"):
        dequantize("Q4_K", bytes(144), (1, 255))
    with pytest.raises(UnsupportedModelError, match="IQ2_XXS"):
        dequantize("IQ2_XXS", bytes(66), (1, 256))
