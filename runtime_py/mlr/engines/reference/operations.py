"""What layers are made of: products with a model's matrices, norms, activations, softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlr.engines.reference.activations import quantize_activations
from mlr.formats.model_config import ModelConfig

__all__ = ["ACTIVATIONS", "Array", "Weights", "sigmoid", "softcap", "softmax"]

Array = NDArray[np.floating[Any]]  # float32 or float64, one dtype throughout a model


class Weights:
    """A model's tensors by GGUF name, and what is computed with one of them at a time."""

    def __init__(
        self,
        config: ModelConfig,
        arrays: Mapping[str, Array],  # (experts, rows, columns), (rows, columns) or (length,)
        types: Mapping[str, str],  # the types that the tensors had in the file
        kernel_rounding: bool,
    ) -> None:
        self._arrays, self._types = arrays, types
        self.kernel_rounding = kernel_rounding
        self.dtype = arrays["token_embd.weight"].dtype
        self._epsilon = self.dtype.type(config.norm_epsilon)
        self._centred = config.norm == "layer"

    def __contains__(self, name: str) -> bool:
        """Whether the model has a tensor."""
        return name in self._arrays

    def __getitem__(self, name: str) -> Array:
        """A tensor as it is."""
        return self._arrays[name]

    def linear(self, x: Array, name: str) -> Array:
        """x (…, columns) times the transposed matrix `name` (rows, columns), plus its bias."""
        y = self._product(x, name + ".weight", self._arrays[name + ".weight"])
        if name + ".scale" in self:
            y = y * self[name + ".scale"]
        return y + self[name + ".bias"] if name + ".bias" in self else y

    def expert(self, x: Array, name: str, expert: int) -> Array:
        """The same with one of the matrices of `name` (experts, rows, columns)."""
        return self._product(x, name + ".weight", self._arrays[name + ".weight"][expert])

    def _product(self, x: Array, name: str, matrix: Array) -> Array:
        if self.kernel_rounding:
            x = quantize_activations(x, self._types[name])
        y: Array = x @ matrix.T
        return y

    def norm(self, x: Array, name: str) -> Array:
        """RMS or layer norm over the last axis."""
        if self._centred:
            x = x - np.mean(x, axis=-1, keepdims=True)
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        y: Array = x / np.sqrt(mean_square + self._epsilon) * self[name + ".weight"]
        return y + self[name + ".bias"] if name + ".bias" in self else y


def softmax(x: Array) -> Array:
    """Over the last axis; -inf becomes 0."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    out: Array = e / e.sum(axis=-1, keepdims=True)
    return out


def softcap(x: Array, cap: float) -> Array:
    """x bent to stay between -cap and cap; 0 is no cap."""
    if not cap:
        return x
    c = x.dtype.type(cap)
    out: Array = c * np.tanh(x / c)
    return out


def sigmoid(x: Array) -> Array:
    # By tanh: the same function, without an exponential that overflows.
    half = x.dtype.type(0.5)
    out: Array = half * (1 + np.tanh(half * x))
    return out


def _silu(x: Array) -> Array:
    return x * sigmoid(x)


def _gelu(x: Array) -> Array:
    """The tanh form."""
    one = x.dtype.type
    inner = one(np.sqrt(2 / np.pi)) * (x + one(0.044715) * x * x * x)
    out: Array = one(0.5) * x * (1 + np.tanh(inner))
    return out


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _gelu_erf(x: Array) -> Array:
    one = x.dtype.type
    out: Array = one(0.5) * x * (one(1) + _erf(x * one(np.sqrt(0.5))).astype(x.dtype))
    return out


def _relu(x: Array) -> Array:
    out: Array = np.maximum(x, x.dtype.type(0))
    return out


def _relu_squared(x: Array) -> Array:
    return _relu(x) * _relu(x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": _silu,
    "gelu": _gelu,
    "gelu_erf": _gelu_erf,
    "relu": _relu,
    "relu_squared": _relu_squared,
}
