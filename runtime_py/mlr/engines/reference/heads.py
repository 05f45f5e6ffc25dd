"""Queries, keys, values and weights rounded to integers as the kernel's attention rounds them.

As with `activations`, the reference engine then differs from the kernel by floating-point rounding
alone. The kernel's `heads.c` and `attention.c` say why the limits are what they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlr.engines.reference.operations import Array

__all__ = ["round_keys", "round_values", "round_weights"]

_LARGEST_NORM = np.float32(46280)
_LARGEST_ENTRY = np.float32(32750)
_LARGEST_VALUE = np.float32(16375)
_SCALE_UNIT = np.float32(2**11)  # scales are kept in float16 as so many times themselves
_SMALLEST_SCALE = np.float32(2**-14)
_LARGEST_WEIGHT, _LARGEST_SUM = 32767, 130900
_BLOCK = 64  # positions whose weights have a step of their own


def round_keys(x: Array) -> Array:
    """Queries or keys (…, head_dim): to multiples of a scale that goes with their norm."""
    narrow = x.astype(np.float32)
    norm = np.sqrt((narrow * narrow).sum(axis=-1, keepdims=True))
    largest = np.abs(narrow).max(axis=-1, keepdims=True)
    scale = _as_kept(np.maximum(norm / _LARGEST_NORM, largest / _LARGEST_ENTRY))
    return _multiples(narrow, scale).astype(x.dtype) * scale.astype(x.dtype)


def round_values(x: Array) -> tuple[Array, Array]:
    """Values (…, head_dim): to integers, and their scales (…, 1)."""
    narrow = x.astype(np.float32)
    scale = _as_kept(np.abs(narrow).max(axis=-1, keepdims=True) / _LARGEST_VALUE)
    return _multiples(narrow, scale).astype(x.dtype), scale.astype(x.dtype)


def round_weights(x: Array) -> Array:
    """Weights (…, positions), not negative: to multiples of a step, block by block."""
    positions = x.shape[-1]
    padding = [(0, 0)] * (x.ndim - 1) + [(0, -positions % _BLOCK)]
    blocks = np.pad(x, padding).reshape(*x.shape[:-1], -1, _BLOCK)
    largest, total = blocks.max(axis=-1, keepdims=True), blocks.sum(axis=-1, keepdims=True)
    step = np.maximum(largest / _LARGEST_WEIGHT, total / _LARGEST_SUM)
    rounded: Array = np.rint(blocks / np.where(step > 0, step, 1)) * step
    return rounded.reshape(*x.shape[:-1], -1)[..., :positions]


def _as_kept(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    kept = np.maximum(scale * _SCALE_UNIT, _SMALLEST_SCALE).astype(np.float16)
    scales: NDArray[np.float32] = kept.astype(np.float32) / _SCALE_UNIT
    return scales


def _multiples(x: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[Any]:
    return np.rint(x * (np.float32(1) / scale))
