"""Numbers of a safetensors file as the types that GGUF has, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlr.formats.safetensors import SafetensorsTensor
from mlr.formats.source import ByteSource

__all__ = ["FLOAT_DTYPES", "encode_rows", "floats", "whole_rows"]

Floats = NDArray[np.float32]

FLOAT_DTYPES = ("F32", "F16", "BF16")
_BLOCK_BYTES = 8 << 20  # read at once
_Q8_BLOCK = 32


def encode_rows(source: ByteSource, tensor: SafetensorsTensor, kind: str) -> Iterator[bytes]:
    """The tensor's numbers as GGUF's `kind` (F32, F16 or Q8_0), a few rows at a time."""
    for _, data in whole_rows(source, tensor):
        yield _encoded(floats(data, tensor.dtype), kind)


def whole_rows(source: ByteSource, tensor: SafetensorsTensor) -> Iterator[tuple[int, bytes]]:
    """The tensor's bytes, a few rows at a time, each time with their place in the file."""
    rows = math.prod(tensor.shape[:-1])
    row_bytes = tensor.size // max(rows, 1)
    step = max(_BLOCK_BYTES // max(row_bytes, 1), 1) * row_bytes
    for start in range(0, tensor.size, step or 1):
        place = tensor.offset + start
        yield place, source.read_at(place, min(step, tensor.size - start))


def floats(data: bytes, dtype: str) -> Floats:
    """The numbers in bytes of one of `FLOAT_DTYPES`."""
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float32)


def _encoded(values: Floats, kind: str) -> bytes:
    if kind == "Q8_0":
        return _q8_0(values)
    dtype: Any = {"F32": "<f4", "F16": "<f2"}[kind]
    with np.errstate(over="ignore"):  # beyond float16 is infinite, as everywhere
        return values.astype(dtype).tobytes()


def _q8_0(values: Floats) -> bytes:
    """Blocks of 32: the scale as float16, then signed bytes, halves rounded away from zero."""
    blocks = values.reshape(-1, _Q8_BLOCK)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    with np.errstate(divide="ignore"):
        inverse = np.where(scale == 0, np.float32(0), np.float32(1) / scale)
    scaled = blocks * inverse
    quants = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    return np.hstack([scale.astype("<f2").view(np.uint8), quants.view(np.uint8)]).tobytes()
