"""Random weights in every type that the kernel reads, as the bytes of a GGUF file.

The values are random, so nothing is lost by drawing the blocks themselves: every bit pattern
of the packed fields occurs, and the scales are chosen to give a wanted standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable

import gguf
import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "SCALES", "make_scales_positive", "random_matrix"]

Draw = Callable[[np.random.Generator, int, float], NDArray[np.uint8]]

# type: (values in a block, bytes in a block)
BLOCK = {
    name: gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    for name in (
        *("F32", "F16", "BF16", "Q4_0", "Q5_0", "Q8_0", "Q4_K", "Q6_K", "Q4_1", "Q5_1"),
        *("IQ4_NL", "MXFP4", "Q2_K", "Q3_K", "Q5_K", "IQ4_XS", "TQ1_0", "TQ2_0"),
    )
}

# Where a block keeps its float16 scales, as byte offsets.
SCALES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "IQ4_NL": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_XS": [0],
    "TQ1_0": [52],
    "TQ2_0": [64],
}


def random_matrix(
    rng: np.random.Generator, type_name: str, rows: int, columns: int, deviation: float
) -> NDArray[np.uint8]:
    """Bytes of a matrix, uint8[rows, bytes per row], whose values have mean about 0.

    `columns` must be a multiple of the type's block. `deviation` is the standard deviation.
    """
    block, size = BLOCK[type_name]
    if columns % block:
        raise ValueError(f"{columns} columns do not fill blocks of {block} ({type_name})")
    n = rows * columns // block
    if block == 1:
        values = (rng.standard_normal((rows, columns)) * deviation).astype(np.float32)
        return _floats(values, type_name)
    blocks = _DRAW[type_name](rng, n, deviation)
    assert blocks.shape == (n, size)
    return blocks.reshape(rows, columns // block * size)


def make_scales_positive(matrix: NDArray[np.uint8], type_name: str) -> None:
    """Clear the signs of the float16 scales in a matrix's bytes, uint8[rows, bytes per row]."""
    blocks = matrix.reshape(-1, BLOCK[type_name][1])
    for offset in SCALES[type_name]:
        blocks[:, offset + 1] &= 0x7F


def _floats(values: NDArray[np.float32], type_name: str) -> NDArray[np.uint8]:
    if type_name == "F32":
        return values.view(np.uint8)
    if type_name == "F16":
        return values.astype(np.float16).view(np.uint8)
    return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)  # BF16, cut off


def _half(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Scales as little-endian float16 bytes, uint8[n, 2]."""
    return values.astype("<f2").reshape(-1, 1).view(np.uint8)


def _bytes(rng: np.random.Generator, n: int, size: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (n, size), dtype=np.uint8)


def _scales(
    rng: np.random.Generator, n: int, deviation: float, spread: float
) -> NDArray[np.float64]:
    """Block scales of either sign: `spread` is the deviation of the integers they multiply."""
    return rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 1.4, n) * deviation / spread


def _q4_0(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    return np.hstack([_half(_scales(rng, n, deviation, 4.6)), _bytes(rng, n, 16)])


def _q5_0(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    return np.hstack([_half(_scales(rng, n, deviation, 9.2)), _bytes(rng, n, 20)])


def _q8_0(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    # ggml's quantizer never gives -128, and its own dot product counts on that.
    values = rng.integers(-127, 128, (n, 32), dtype=np.int8).view(np.uint8)
    return np.hstack([_half(_scales(rng, n, deviation, 73.0)), values])


def _scales_and_minima(
    rng: np.random.Generator, n: int, deviation: float, spread: float, middle: float
) -> NDArray[np.uint8]:
    """The head of a Q4_K or Q5_K block: d, dmin and eight six-bit scales and minima.

    A value is d*scale*q - dmin*minimum; with dmin = `middle` d, the middle of what q can be, and
    minimum near scale the mean is 0.
    """
    scales = rng.integers(8, 64, (n, 8), dtype=np.uint8)
    minima = np.clip(scales.astype(np.int16) + rng.integers(-4, 5, (n, 8)), 0, 63).astype(np.uint8)
    low = np.concatenate([scales[:, :4], minima[:, :4]], axis=1)
    high = np.concatenate([scales[:, 4:], minima[:, 4:]], axis=1)
    low |= (high >> 4) << 6
    mixed = (high[:, :4] & 15) | (high[:, 4:] & 15) << 4
    d = np.abs(_scales(rng, n, deviation, spread * 38))
    return np.hstack([_half(d), _half(d * middle), low, mixed])


def _q4_k(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    head = _scales_and_minima(rng, n, deviation, 4.6, 7.5)
    return np.hstack([head, _bytes(rng, n, 128)])


def _q5_k(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    head = _scales_and_minima(rng, n, deviation, 9.2, 15.5)
    return np.hstack([head, _bytes(rng, n, 160)])


def _q6_k(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    scales = rng.integers(-128, 128, (n, 16), dtype=np.int8).view(np.uint8)
    d = _scales(rng, n, deviation, 18.5 * 74)
    return np.hstack([_bytes(rng, n, 192), scales, _half(d)])


def _with_minimum(size: int, spread: float, middle: float) -> Draw:
    """Q4_1 and Q5_1: the minimum makes the mean 0."""

    def draw(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
        d = _scales(rng, n, deviation, spread)
        return np.hstack([_half(d), _half(-middle * d), _bytes(rng, n, size)])

    return draw


def _iq4_nl(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    return np.hstack([_half(_scales(rng, n, deviation, 70)), _bytes(rng, n, 16)])


def _iq4_xs(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    return np.hstack([_half(_scales(rng, n, deviation, 70 * 18)), _bytes(rng, n, 134)])


def _mxfp4(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    exponent = np.round(128 + np.log2(deviation / 5.5)) + rng.integers(-1, 2, n)
    return np.hstack([exponent.astype(np.uint8).reshape(-1, 1), _bytes(rng, n, 16)])


def _q2_k(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    scales = rng.integers(1, 16, (n, 16), dtype=np.uint8)
    d = np.abs(_scales(rng, n, deviation, 1.1 * 9))
    packed = _bytes(rng, n, 64)
    return np.hstack([scales | scales << 4, packed, _half(d), _half(d * 1.5)])


def _q3_k(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    d = _scales(rng, n, deviation, 2.3 * 18)
    return np.hstack([_bytes(rng, n, 108), _half(d)])


def _tq1_0(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    # Only bytes that the quantizer writes: ceil(256 digits / 243).
    digits = rng.integers(0, 243, (n, 52), dtype=np.uint16)
    digits[:, 48:] -= digits[:, 48:] % 3  # four digits, the fifth is 0
    packed = ((digits * 256 + 242) // 243).astype(np.uint8)
    return np.hstack([packed, _half(_scales(rng, n, deviation, 0.8))])


def _tq2_0(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    digits = rng.integers(0, 3, (n, 64, 4), dtype=np.uint8) << np.array([0, 2, 4, 6], np.uint8)
    packed = digits.sum(axis=2, dtype=np.uint8)
    return np.hstack([packed, _half(_scales(rng, n, deviation, 0.8))])


_DRAW: dict[str, Draw] = {
    "Q4_0": _q4_0,
    "Q4_1": _with_minimum(16, 4.6, 7.5),
    "Q5_0": _q5_0,
    "Q5_1": _with_minimum(20, 9.2, 15.5),
    "Q8_0": _q8_0,
    "IQ4_NL": _iq4_nl,
    "MXFP4": _mxfp4,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_XS": _iq4_xs,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
}
