"""Random weights in every type that the kernel reads, as the bytes of a GGUF file.

The values are random, so nothing is lost by drawing the blocks themselves: every bit pattern
of the packed fields occurs, and the scales are chosen to give a wanted standard deviation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "random_matrix"]

# type: (values in a block, bytes in a block)
BLOCK = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q4_0": (32, 18),
    "Q5_0": (32, 22),
    "Q8_0": (32, 34),
    "Q4_K": (256, 144),
    "Q6_K": (256, 210),
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
    draw = {"Q4_0": _q4_0, "Q5_0": _q5_0, "Q8_0": _q8_0, "Q4_K": _q4_k, "Q6_K": _q6_k}[type_name]
    blocks = draw(rng, n, deviation)
    assert blocks.shape == (n, size)
    return blocks.reshape(rows, columns // block * size)


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


def _q4_k(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    # A value is d*scale*q - dmin*minimum; with dmin = 7.5 d and minimum near scale the mean is 0.
    scales = rng.integers(8, 64, (n, 8), dtype=np.uint8)
    minima = np.clip(scales.astype(np.int16) + rng.integers(-4, 5, (n, 8)), 0, 63).astype(np.uint8)
    low = np.concatenate([scales[:, :4], minima[:, :4]], axis=1)
    high = np.concatenate([scales[:, 4:], minima[:, 4:]], axis=1)
    low |= (high >> 4) << 6
    mixed = (high[:, :4] & 15) | (high[:, 4:] & 15) << 4
    d = np.abs(_scales(rng, n, deviation, 4.6 * 38))
    return np.hstack([_half(d), _half(d * 7.5), low, mixed, _bytes(rng, n, 128)])


def _q6_k(rng: np.random.Generator, n: int, deviation: float) -> NDArray[np.uint8]:
    scales = rng.integers(-128, 128, (n, 16), dtype=np.int8).view(np.uint8)
    d = _scales(rng, n, deviation, 18.5 * 74)
    return np.hstack([_bytes(rng, n, 192), scales, _half(d)])
