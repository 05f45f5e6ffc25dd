"""Attention of the tokens of one sequence, with the keys and values kept for those to come."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlr.engines.reference.heads import round_keys, round_values, round_weights
from mlr.engines.reference.operations import Array, Weights, softcap, softmax
from mlr.engines.reference.positions import alibi_slopes, rotate, rotation
from mlr.formats.model_config import ModelConfig

__all__ = ["Cache", "attention"]


class Cache:
    """Keys and values of the tokens of one sequence evaluated so far, one pair per layer."""

    def __init__(self, config: ModelConfig, context_length: int, dtype: DTypeLike) -> None:
        shape = (config.n_layers, context_length, config.n_kv_heads, config.head_dim)
        self.keys = np.zeros(shape, dtype)  # (layer, position, kv head, dimension), rotated
        self.values = np.zeros(shape, dtype)  # (layer, position, kv head, dimension)
        # Of values that are integers: with `kernel_rounding`, for a sequence that only grows.
        self.scales = np.ones((*shape[:-1], 1), dtype)
        self.position = 0  # how many positions are filled

    @property
    def context_length(self) -> int:
        """How many positions there are."""
        return self.keys.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes that keys and values take."""
        return self.keys.nbytes + self.values.nbytes


def attention(
    config: ModelConfig,
    weights: Weights,
    layer: int,
    x: Array,
    positions: NDArray[Any],
    cache: Cache,
    context_length: int,
) -> Array:
    """What the attention of `layer` makes of its normed input x (tokens, n_embd).

    The tokens' keys and values are stored in `cache` at `positions`.
    """
    c, n = config, len(positions)
    q, k, v = _projections(c, weights, layer, x)
    if c.rotates(layer):
        cos, sin = rotation(c, weights, layer, positions, context_length)
        if not c.slides(layer):
            factor = x.dtype.type(c.rope_attention_factor)
            cos, sin = cos * factor, sin * factor
        q, k = rotate(c, q, cos, sin), rotate(c, k, cos, sin)
    if weights.kernel_rounding:
        q, k = round_keys(q), round_keys(k)
        v, cache.scales[layer, positions] = round_values(v)
    cache.keys[layer, positions], cache.values[layer, positions] = k, v
    end = positions[-1] + 1
    keys, values, scales = (a[layer, :end] for a in (cache.keys, cache.values, cache.scales))

    # Every group of n_heads / n_kv_heads query heads shares one key and value head.
    groups = q.reshape(n, c.n_kv_heads, -1, c.head_dim)
    scores = np.einsum("nhgd,mhd->hgnm", groups, keys, optimize=True)
    scores = scores * x.dtype.type(c.attention_scale)  # (kv head, group, token, position)
    scores = softcap(scores, c.attention_softcap)
    distance = positions[:, None] - np.arange(end)[None, :]  # (token, position)
    if c.positions == "alibi":
        slopes = alibi_slopes(c).reshape(c.n_kv_heads, -1, 1, 1)
        scores = scores - (slopes * np.abs(distance)).astype(x.dtype)
    seen = distance >= 0 if c.causal else np.ones_like(distance, dtype=bool)
    if c.slides(layer):
        seen &= distance < c.sliding_window
    shares = softmax(np.where(seen, scores, -np.inf))
    shares = shares * scales.transpose(1, 2, 0)[:, :, None]  # (kv head, 1, 1, position)
    if weights.kernel_rounding:
        shares = round_weights(shares)
    mixed = np.einsum("hgnm,mhd->nhgd", shares, values, optimize=True).reshape(n, -1)
    prefix = f"blk.{layer}."
    if c.sub_norms:
        mixed = weights.norm(mixed, prefix + "attn_sub_norm")
    return weights.linear(mixed, prefix + "attn_output")


def _projections(
    c: ModelConfig, weights: Weights, layer: int, x: Array
) -> tuple[Array, Array, Array]:
    """Queries (tokens, n_heads, head_dim), keys and values (tokens, n_kv_heads, head_dim)."""
    prefix, rows = f"blk.{layer}.", c.n_heads * c.head_dim
    if c.fused_qkv:
        fused = weights.linear(x, prefix + "attn_qkv")
        q, k, v = np.split(fused, [rows, rows + c.n_kv_heads * c.head_dim], axis=-1)
    else:
        q, k, v = (weights.linear(x, prefix + name) for name in ("attn_q", "attn_k", "attn_v"))

    if c.qk_norm == "full":
        q, k = weights.norm(q, prefix + "attn_q_norm"), weights.norm(k, prefix + "attn_k_norm")
    q, k, v = (part.reshape(len(x), -1, c.head_dim) for part in (q, k, v))
    if c.qk_norm == "head":
        q, k = weights.norm(q, prefix + "attn_q_norm"), weights.norm(k, prefix + "attn_k_norm")
    return q, k, v
