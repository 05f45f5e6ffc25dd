"""From the bytes of a GGUF tensor to numbers, for every type that the kernel computes on.

Blocks are little-endian and of a fixed size; a block's scale `d` is a float16. In float64 the
result is exact. In float32 it is rounded as ggml rounds it, so the two agree bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlr.errors import RequestError, UnsupportedModelError

__all__ = ["dequantize"]

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.floating[Any]]
Float = np.dtype[np.floating[Any]]


def dequantize(
    type_name: str,
    data: bytes | bytearray | memoryview,
    shape: Sequence[int],
    dtype: str = "float32",
) -> Numbers:
    """The tensor in `data` as an array of `shape` and `dtype` ("float32" or "float64").

    Raises `UnsupportedModelError` for a type that is not computed on, and `RequestError` when
    `data` does not have the size of such a tensor.
    """
    if type_name not in _TYPES:
        raise UnsupportedModelError(
            f"tensor type {type_name!r:.40} is not supported; supported: " + ", ".join(_TYPES)
        )
    values, size, unpack = _TYPES[type_name]
    count = math.prod(shape)
    if count % values or len(data) != count // values * size:
        raise RequestError(
            f"a {type_name} tensor of shape {tuple(shape)} does not have {len(data)} bytes"
        )
    blocks = np.frombuffer(data, np.uint8).reshape(-1, size)
    return unpack(blocks, np.dtype(dtype)).reshape(tuple(shape))


def _f32(blocks: Bytes, dtype: Float) -> Numbers:
    return blocks.view("<f4").astype(dtype)


def _f16(blocks: Bytes, dtype: Float) -> Numbers:
    return blocks.view("<f2").astype(dtype)


def _bf16(blocks: Bytes, dtype: Float) -> Numbers:
    """A bfloat16 is the upper half of a float32."""
    return (blocks.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(dtype)


def _nibbles(packed: Bytes) -> NDArray[np.int8]:
    """int8[n, 2, width]: the low nibbles of each row, then the high ones."""
    return np.stack([packed & 15, packed >> 4], axis=1).view(np.int8)


def _q4_0(blocks: Bytes, dtype: Float) -> Numbers:
    """d, 16 bytes of nibbles: value i is the low nibble of byte i, value i + 16 the high one."""
    d = _f16(blocks[:, :2].copy(), dtype)
    q = _nibbles(blocks[:, 2:]).reshape(-1, 32) - 8
    return d * q.astype(dtype)


def _q5_0(blocks: Bytes, dtype: Float) -> Numbers:
    """d, 32 fifth bits, nibbles as in Q4_0."""
    d = _f16(blocks[:, :2].copy(), dtype)
    fifth = np.unpackbits(blocks[:, 2:6], axis=1, bitorder="little").view(np.int8)
    q = (_nibbles(blocks[:, 6:]).reshape(-1, 32) | fifth << 4) - 16
    return d * q.astype(dtype)


def _q8_0(blocks: Bytes, dtype: Float) -> Numbers:
    """d, 32 signed bytes."""
    d = _f16(blocks[:, :2].copy(), dtype)
    return d * blocks[:, 2:].view(np.int8).astype(dtype)


def _q4_k(blocks: Bytes, dtype: Float) -> Numbers:
    """d, dmin, 12 bytes of six-bit scales and minima of 8 groups of 32, 128 bytes of nibbles.

    Each 32 bytes of nibbles hold two groups: the low nibbles one, the high ones the next.
    """
    d, dmin = _f16(blocks[:, 0:2].copy(), dtype), _f16(blocks[:, 2:4].copy(), dtype)
    scales, minima, mixed = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    # Groups 0 to 3 have their six bits in one byte. Groups 4 to 7 have the low four in `mixed`
    # and the high two at the top of the bytes of groups 0 to 3.
    scale = np.hstack([scales & 63, (mixed & 15) | (scales >> 6) << 4]).astype(dtype)
    minimum = np.hstack([minima & 63, (mixed >> 4) | (minima >> 6) << 4]).astype(dtype)
    q = _nibbles(blocks[:, 16:].reshape(-1, 32)).reshape(-1, 8, 32).astype(dtype)
    return (d * scale)[:, :, None] * q - (dmin * minimum)[:, :, None]


def _q6_k(blocks: Bytes, dtype: Float) -> Numbers:
    """128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, d.

    In each half of 128 values, four runs of 32: low nibbles of bytes 0–31 and 32–63, then high
    nibbles of the same; the bit pairs of run r sit at bit 2r of the half's 32 bytes.
    """
    low = _nibbles(blocks[:, :128].reshape(-1, 64)).reshape(-1, 4, 32)
    pairs = blocks[:, 128:192].reshape(-1, 1, 32) >> np.array([[0], [2], [4], [6]], np.uint8) & 3
    q = ((low | pairs.view(np.int8) << 4) - 32).reshape(-1, 16, 16).astype(dtype)
    scale = blocks[:, 192:208].view(np.int8).astype(dtype)
    return (_f16(blocks[:, 208:].copy(), dtype) * scale)[:, :, None] * q


# type: (values in a block, bytes in a block, how a block is unpacked)
_TYPES: dict[str, tuple[int, int, Callable[[Bytes, Float], Numbers]]] = {
    "F32": (1, 4, _f32),
    "F16": (1, 2, _f16),
    "BF16": (1, 2, _bf16),
    "Q4_0": (32, 18, _q4_0),
    "Q5_0": (32, 22, _q5_0),
    "Q8_0": (32, 34, _q8_0),
    "Q4_K": (256, 144, _q4_k),
    "Q6_K": (256, 210, _q6_k),
}
