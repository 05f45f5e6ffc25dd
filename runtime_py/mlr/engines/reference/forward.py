"""The forward pass of a decoder of the Llama or Gemma 3 family, as the papers have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlr.engines.reference.activations import quantize_activations
from mlr.formats.model_config import ModelConfig

__all__ = ["Cache", "Decoder"]

Array = NDArray[np.floating[Any]]  # float32 or float64, one dtype throughout a decoder


class Cache:
    """Keys and values of the tokens evaluated so far, one pair per layer."""

    def __init__(self, config: ModelConfig, context_length: int, dtype: DTypeLike) -> None:
        shape = (config.n_layers, context_length, config.n_kv_heads, config.head_dim)
        self.keys = np.zeros(shape, dtype)  # (layer, position, kv head, dimension), rotated
        self.values = np.zeros(shape, dtype)  # (layer, position, kv head, dimension)
        self.position = 0  # how many positions are filled

    @property
    def nbytes(self) -> int:
        """Bytes that both arrays take."""
        return self.keys.nbytes + self.values.nbytes


class Decoder:
    """The weights, and what is computed with them. It keeps no state between calls."""

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Array],  # by GGUF name: (rows, columns) or (length,)
        types: Mapping[str, str],  # by GGUF name: the type that the tensor had in the file
        kernel_rounding: bool,
    ) -> None:
        self._config = config
        self._weights = weights
        self._types = types
        self._kernel_rounding = kernel_rounding
        self.dtype = weights["token_embd.weight"].dtype

    def hidden(self, tokens: Sequence[int], cache: Cache) -> Array:
        """Evaluate `tokens` after those in `cache` and append them to it.

        Returns the hidden states after the last norm, (tokens, n_embd).
        """
        c = self._config
        positions = np.arange(cache.position, cache.position + len(tokens))
        x = self._weights["token_embd.weight"][list(tokens)] * self.dtype.type(c.embedding_scale)
        for layer in range(c.n_layers):
            x = x + self._attention(layer, x, positions, cache)
            x = x + self._feed_forward(layer, x)
        cache.position += len(tokens)
        return self._norm(x, "output_norm.weight")

    def logits(self, hidden: Array) -> Array:
        """The head: hidden states (…, n_embd) to logits (…, n_vocab)."""
        tied = "output.weight" not in self._weights
        return self._linear(hidden, "token_embd" if tied else "output")

    def _attention(self, layer: int, x: Array, positions: NDArray[Any], cache: Cache) -> Array:
        """What the attention of `layer` adds to the residual stream `x` (tokens, n_embd)."""
        c, prefix, n = self._config, f"blk.{layer}.", len(positions)
        x = self._norm(x, prefix + "attn_norm.weight")
        q = self._linear(x, prefix + "attn_q").reshape(n, c.n_heads, c.head_dim)
        k = self._linear(x, prefix + "attn_k").reshape(n, c.n_kv_heads, c.head_dim)
        v = self._linear(x, prefix + "attn_v").reshape(n, c.n_kv_heads, c.head_dim)
        if prefix + "attn_q_norm.weight" in self._weights:
            q = self._norm(q, prefix + "attn_q_norm.weight")
            k = self._norm(k, prefix + "attn_k_norm.weight")

        cos, sin = self._rotation(layer, positions)
        cache.keys[layer, positions] = self._rotate(k, cos, sin)
        cache.values[layer, positions] = v
        end = positions[-1] + 1
        keys = cache.keys[layer, :end].astype(self.dtype)
        values = cache.values[layer, :end].astype(self.dtype)

        # Every group of n_heads / n_kv_heads query heads shares one key and value head.
        groups = self._rotate(q, cos, sin).reshape(n, c.n_kv_heads, -1, c.head_dim)
        scores = np.einsum("nhgd,mhd->hgnm", groups, keys, optimize=True)
        scores = scores * self.dtype.type(c.attention_scale)  # (kv head, group, token, position)
        distance = positions[:, None] - np.arange(end)[None, :]  # (token, position)
        seen = distance >= 0
        if c.slides(layer):
            seen &= distance < c.sliding_window
        weights = _softmax(np.where(seen, scores, -np.inf))
        mixed = np.einsum("hgnm,mhd->nhgd", weights, values, optimize=True).reshape(n, -1)
        out = self._linear(mixed, prefix + "attn_output")
        return self._optional_norm(out, prefix + "post_attention_norm.weight")

    def _feed_forward(self, layer: int, x: Array) -> Array:
        """What the gated feed-forward network of `layer` adds to the residual stream."""
        prefix = f"blk.{layer}."
        x = self._norm(x, prefix + "ffn_norm.weight")
        gate, up = self._linear(x, prefix + "ffn_gate"), self._linear(x, prefix + "ffn_up")
        activated = _gelu(gate) if self._config.activation == "gelu" else _silu(gate)
        out = self._linear(activated * up, prefix + "ffn_down")
        return self._optional_norm(out, prefix + "post_ffw_norm.weight")

    def _linear(self, x: Array, name: str) -> Array:
        """x (…, columns) times the transposed matrix `name` (rows, columns), plus its bias."""
        matrix = name + ".weight"
        if self._kernel_rounding:
            x = quantize_activations(x, self._types[matrix])
        y: Array = x @ self._weights[matrix].T
        bias = self._weights.get(name + ".bias")
        return y if bias is None else y + bias

    def _norm(self, x: Array, name: str) -> Array:
        """RMS norm over the last axis."""
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        epsilon = self.dtype.type(self._config.norm_epsilon)
        y: Array = x / np.sqrt(mean_square + epsilon) * self._weights[name]
        return y

    def _optional_norm(self, x: Array, name: str) -> Array:
        return self._norm(x, name) if name in self._weights else x

    def _rotation(self, layer: int, positions: NDArray[Any]) -> tuple[Array, Array]:
        """Cosines and sines of the rotary angles, each (tokens, 1, rope_dim / 2)."""
        c = self._config
        theta, scale = c.rope_theta, c.rope_scale
        if c.slides(layer):
            theta, scale = c.rope_theta_local, 1.0
        # In float64 whatever the dtype: angles grow with the position, and so do their errors.
        frequencies = theta ** (-np.arange(0, c.rope_dim, 2, dtype=np.float64) / c.rope_dim)
        if "rope_freqs.weight" in self._weights:
            frequencies = frequencies / self._weights["rope_freqs.weight"]
        angles = (positions * scale)[:, None, None] * frequencies
        return np.cos(angles).astype(self.dtype), np.sin(angles).astype(self.dtype)

    def _rotate(self, x: Array, cos: Array, sin: Array) -> Array:
        """Rotate the first rope_dim dimensions of each head of x (tokens, heads, head_dim)."""
        c, out = self._config, x.copy()
        half = c.rope_dim // 2
        if c.rope_style == "interleaved":
            first, second = slice(0, c.rope_dim, 2), slice(1, c.rope_dim, 2)
        else:
            first, second = slice(0, half), slice(half, c.rope_dim)
        a, b = x[..., first], x[..., second]
        out[..., first] = a * cos - b * sin
        out[..., second] = a * sin + b * cos
        return out


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    out: Array = e / e.sum(axis=-1, keepdims=True)
    return out


def _silu(x: Array) -> Array:
    # As x/2 * (1 + tanh(x/2)): the same function, without an exponential that overflows.
    half = x * x.dtype.type(0.5)
    out: Array = half * (1 + np.tanh(half))
    return out


def _gelu(x: Array) -> Array:
    """The tanh form."""
    one = x.dtype.type
    inner = one(np.sqrt(2 / np.pi)) * (x + one(0.044715) * x * x * x)
    out: Array = one(0.5) * x * (1 + np.tanh(inner))
    return out
