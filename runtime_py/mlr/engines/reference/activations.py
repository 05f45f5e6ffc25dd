"""Activations rounded to 8 bits as the kernel (and llama.cpp) rounds them before a product.

With them the reference engine differs from the kernel by floating-point rounding alone, so a
comparison can be far tighter than the error of the quantization itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlr.formats.ggml_types import TYPES

__all__ = ["quantize_activations"]


def quantize_activations(
    x: NDArray[np.floating[Any]], weight_type: str
) -> NDArray[np.floating[Any]]:
    """`x` (…, columns) after rounding to 8 bits per block, in the dtype of `x`.

    A block as long as the weights' own, 32 or 256, becomes integers from -127 to 127, to nearest
    even, times a scale: the block's largest magnitude / 127, for blocks of 32 rounded to float16.
    Float weights take activations as they are.
    """
    block = TYPES[weight_type].block_size
    if block == 1:
        return x
    # Every step in float32, as the kernel has it: the integers are decided here.
    blocks = x.astype(np.float32).reshape(*x.shape[:-1], -1, block)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        inverse = np.where(largest > 0, np.float32(127) / largest, np.float32(0))
    q = np.clip(np.rint(blocks * inverse), -127, 127)
    scale = largest / np.float32(127)
    if block == 32:
        scale = scale.astype(np.float16)
    rounded: NDArray[np.floating[Any]] = q.astype(x.dtype) * scale.astype(x.dtype)
    return rounded.reshape(x.shape)
