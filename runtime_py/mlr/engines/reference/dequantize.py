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
from mlr.formats.ggml_types import TYPES

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
    if type_name not in _UNPACK:
        raise UnsupportedModelError(
            f"tensor type {type_name!r:.40} is not supported; supported: " + ", ".join(_UNPACK)
        )
    values, size = TYPES[type_name].block_size, TYPES[type_name].block_bytes
    count = math.prod(shape)
    if count % values or len(data) != count // values * size:
        raise RequestError(
            f"a {type_name} tensor of shape {tuple(shape)} does not have {len(data)} bytes"
        )
    blocks = np.frombuffer(data, np.uint8).reshape(-1, size)
    return _UNPACK[type_name](blocks, np.dtype(dtype)).reshape(tuple(shape))


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


def _scale(blocks: Bytes, offset: int, dtype: Float) -> Numbers:
    """[n, 1]: the float16 at byte `offset` of each block."""
    return _f16(blocks[:, offset : offset + 2].copy(), dtype)


def _fifth(packed: Bytes) -> NDArray[np.int8]:
    """int8[n, 32], 0 or 16: a bit for each value."""
    return np.unpackbits(packed, axis=1, bitorder="little").view(np.int8) << 4


def _q4_0(blocks: Bytes, dtype: Float) -> Numbers:
    """d, 16 bytes of nibbles: value i is the low nibble of byte i, value i + 16 the high one."""
    q = _nibbles(blocks[:, 2:]).reshape(-1, 32) - 8
    return _scale(blocks, 0, dtype) * q.astype(dtype)


def _q4_1(blocks: Bytes, dtype: Float) -> Numbers:
    """d, minimum, nibbles as in Q4_0."""
    q = _nibbles(blocks[:, 4:]).reshape(-1, 32)
    return _scale(blocks, 0, dtype) * q.astype(dtype) + _scale(blocks, 2, dtype)


def _q5_0(blocks: Bytes, dtype: Float) -> Numbers:
    """d, 32 fifth bits, nibbles as in Q4_0."""
    q = (_nibbles(blocks[:, 6:]).reshape(-1, 32) | _fifth(blocks[:, 2:6])) - 16
    return _scale(blocks, 0, dtype) * q.astype(dtype)


def _q5_1(blocks: Bytes, dtype: Float) -> Numbers:
    """d, minimum, 32 fifth bits, nibbles as in Q4_0."""
    q = _nibbles(blocks[:, 8:]).reshape(-1, 32) | _fifth(blocks[:, 4:8])
    return _scale(blocks, 0, dtype) * q.astype(dtype) + _scale(blocks, 2, dtype)


def _q8_0(blocks: Bytes, dtype: Float) -> Numbers:
    """d, 32 signed bytes."""
    return _scale(blocks, 0, dtype) * blocks[:, 2:].view(np.int8).astype(dtype)


def _iq4_nl(blocks: Bytes, dtype: Float) -> Numbers:
    """d, nibbles as in Q4_0: places in a table."""
    q = _IQ4_VALUES[_nibbles(blocks[:, 2:]).reshape(-1, 32)]
    return _scale(blocks, 0, dtype) * q.astype(dtype)


def _mxfp4(blocks: Bytes, dtype: Float) -> Numbers:
    """The exponent of the scale, nibbles as in Q4_0: places in a table of twice the values."""
    scale = np.ldexp(np.ones(1, dtype), blocks[:, :1].astype(np.int32) - 128)
    return scale * _MXFP4_VALUES[_nibbles(blocks[:, 1:]).reshape(-1, 32)].astype(dtype)


def _pairs(packed: Bytes) -> NDArray[np.int8]:
    """int8[n, 256]: each 32 bytes hold four runs of 32, at bits 0, 2, 4 and 6."""
    shifts = np.array([[0], [2], [4], [6]], np.uint8)
    return (packed.reshape(-1, 2, 1, 32) >> shifts & 3).view(np.int8).reshape(-1, 256)


def _planes(packed: Bytes) -> NDArray[np.int8]:
    """int8[n, 256], 0 or 1: 32 bytes hold eight runs of 32, a bit each."""
    runs = packed.reshape(-1, 1, 32) >> np.arange(8, dtype=np.uint8)[:, None] & 1
    return runs.view(np.int8).reshape(-1, 256)


def _q2_k(blocks: Bytes, dtype: Float) -> Numbers:
    """16 bytes of four-bit scales and minima of groups of 16, 64 bytes of bit pairs, d, dmin."""
    scale = _scale(blocks, 80, dtype) * (blocks[:, :16] & 15).astype(dtype)
    minimum = _scale(blocks, 82, dtype) * (blocks[:, :16] >> 4).astype(dtype)
    q = _pairs(blocks[:, 16:80]).reshape(-1, 16, 16).astype(dtype)
    return scale[:, :, None] * q - minimum[:, :, None]


def _q3_k(blocks: Bytes, dtype: Float) -> Numbers:
    """32 bytes of third bits, 64 of bit pairs, 12 of six-bit scales of groups of 16, d.

    Scales 0 to 7 have their low four bits in the low nibbles of the first 8 bytes, 8 to 15 in the
    high ones; the high two bits of scale 4 i + k are at bit 2 i of byte 8 + k.
    """
    packed = blocks[:, 96:108]
    low = _nibbles(packed[:, :8]).reshape(-1, 16)
    high = packed[:, None, 8:] >> np.array([[0], [2], [4], [6]], np.uint8) & 3
    scale = (low | high.view(np.int8).reshape(-1, 16) << 4) - 32
    q = ((_pairs(blocks[:, 32:96]) | _planes(blocks[:, :32]) << 2) - 4).reshape(-1, 16, 16)
    return (_scale(blocks, 108, dtype) * scale.astype(dtype))[:, :, None] * q.astype(dtype)


def _scales_and_minima(blocks: Bytes, dtype: Float) -> tuple[Numbers, Numbers]:
    """d, dmin, 12 bytes of six-bit scales and minima of 8 groups of 32: both [n, 8, 1]."""
    scales, minima, mixed = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    # Groups 0 to 3 have their six bits in one byte. Groups 4 to 7 have the low four in `mixed`
    # and the high two at the top of the bytes of groups 0 to 3.
    scale = np.hstack([scales & 63, (mixed & 15) | (scales >> 6) << 4]).astype(dtype)
    minimum = np.hstack([minima & 63, (mixed >> 4) | (minima >> 6) << 4]).astype(dtype)
    scale, minimum = _scale(blocks, 0, dtype) * scale, _scale(blocks, 2, dtype) * minimum
    return scale[:, :, None], minimum[:, :, None]


def _q4_k(blocks: Bytes, dtype: Float) -> Numbers:
    """Scales and minima, 128 bytes of nibbles.

    Each 32 bytes of nibbles hold two groups: the low nibbles one, the high ones the next.
    """
    scale, minimum = _scales_and_minima(blocks, dtype)
    q = _nibbles(blocks[:, 16:].reshape(-1, 32)).reshape(-1, 8, 32)
    return scale * q.astype(dtype) - minimum


def _q5_k(blocks: Bytes, dtype: Float) -> Numbers:
    """Scales and minima, 32 bytes of fifth bits, nibbles as in Q4_K."""
    scale, minimum = _scales_and_minima(blocks, dtype)
    low = _nibbles(blocks[:, 48:].reshape(-1, 32)).reshape(-1, 8, 32)
    q = low | _planes(blocks[:, 16:48]).reshape(-1, 8, 32) << 4
    return scale * q.astype(dtype) - minimum


def _q6_k(blocks: Bytes, dtype: Float) -> Numbers:
    """128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, d.

    In each half of 128 values, four runs of 32: low nibbles of bytes 0–31 and 32–63, then high
    nibbles of the same; the bit pairs of run r sit at bit 2r of the half's 32 bytes.
    """
    low = _nibbles(blocks[:, :128].reshape(-1, 64)).reshape(-1, 256)
    q = ((low | _pairs(blocks[:, 128:192]) << 4) - 32).reshape(-1, 16, 16)
    scale = blocks[:, 192:208].view(np.int8).astype(dtype)
    return (_scale(blocks, 208, dtype) * scale)[:, :, None] * q.astype(dtype)


def _iq4_xs(blocks: Bytes, dtype: Float) -> Numbers:
    """d, 2 bytes of high bit pairs and 4 of low nibbles of the scales of 8 groups of 32, nibbles.

    The nibbles of each group lie as in Q4_0 and are places in a table.
    """
    high = blocks[:, 2:4].copy().view("<u2") >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    low = np.stack([blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4], axis=2).reshape(-1, 8)
    scale = (low.view(np.int8) | high.astype(np.int8) << 4) - 32
    q = _IQ4_VALUES[_nibbles(blocks[:, 8:].reshape(-1, 16)).reshape(-1, 8, 32)]
    return (_scale(blocks, 0, dtype) * scale.astype(dtype))[:, :, None] * q.astype(dtype)


def _tq1_0(blocks: Bytes, dtype: Float) -> Numbers:
    """48 bytes of five ternary digits each, 4 bytes of four, d.

    A byte is the digits as a fraction of 256, so multiplying it by 3 carries the first one out.
    Bytes 0-31 hold five runs of 32 values, a digit for each, 32-47 five of 16, 48-51 four of 4.
    """
    runs = []
    for start, end, digits in ((0, 32, 5), (32, 48, 5), (48, 52, 4)):
        fraction = blocks[:, start:end]
        for _ in range(digits):
            runs.append((fraction.astype(np.uint16) * 3 >> 8).astype(np.int8))
            fraction = fraction * np.uint8(3)
    return _scale(blocks, 52, dtype) * (np.hstack(runs) - 1).astype(dtype)


def _tq2_0(blocks: Bytes, dtype: Float) -> Numbers:
    """64 bytes of bit pairs, d."""
    return _scale(blocks, 64, dtype) * (_pairs(blocks[:, :64]) - 1).astype(dtype)


_IQ4_VALUES = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8
)
_MXFP4_VALUES = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8)

# How a block of each type is unpacked.
_UNPACK: dict[str, Callable[[Bytes, Float], Numbers]] = {
    "F32": _f32,
    "F16": _f16,
    "BF16": _bf16,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
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
