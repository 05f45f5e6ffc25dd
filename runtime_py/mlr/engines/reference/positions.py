"""How attention knows where tokens stand: rotary angles, and ALiBi's slopes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlr.engines.reference.operations import Array, Weights
from mlr.formats.model_config import ModelConfig

__all__ = ["alibi_slopes", "rotate", "rotation"]


def rotation(
    config: ModelConfig,
    weights: Weights,
    layer: int,
    positions: NDArray[Any],
    context_length: int,
) -> tuple[Array, Array]:
    """Cosines and sines of the rotary angles of `layer`, each (tokens, 1, rope_dim / 2).

    `context_length` decides between LongRoPE's two sets of factors, once for all tokens: keys
    that were rotated by one set cannot be compared with queries rotated by the other.
    """
    c = config
    # In float64 whatever the dtype: angles grow with the position, and so do their errors.
    frequencies = _frequencies(c, c.rope_theta_local) if c.slides(layer) else _scaled_frequencies(c)
    if c.rope_scaling == "longrope" and not c.slides(layer):
        longer = context_length > c.rope_original_context
        frequencies /= weights[f"rope_factors_{'long' if longer else 'short'}.weight"]
    if "rope_freqs.weight" in weights:
        frequencies = frequencies / weights["rope_freqs.weight"]
    angles = positions[:, None, None] * frequencies
    return np.cos(angles).astype(weights.dtype), np.sin(angles).astype(weights.dtype)


def _frequencies(c: ModelConfig, theta: float) -> NDArray[np.float64]:
    """Radians a position for each pair of dimensions, (rope_dim / 2,)."""
    out: NDArray[np.float64] = theta ** (
        -np.arange(0, c.rope_dim, 2, dtype=np.float64) / c.rope_dim
    )
    return out


def _scaled_frequencies(c: ModelConfig) -> NDArray[np.float64]:
    frequencies = _frequencies(c, c.rope_theta)
    scaled = frequencies * c.rope_scale
    if c.rope_scaling != "yarn":
        return scaled
    # YaRN leaves alone the pairs that turn often in the original context, scales those that
    # turn hardly once, and goes from one to the other along a ramp.
    first = max(math.floor(_pair_of(c, c.rope_beta_fast)), 0)
    last = min(math.ceil(_pair_of(c, c.rope_beta_slow)), c.rope_dim - 1)
    ramp = (np.arange(c.rope_dim // 2) - first) / max(last - first, 0.001)
    unscaled = (1.0 - np.clip(ramp, 0.0, 1.0)) * c.rope_extension
    return scaled * (1.0 - unscaled) + frequencies * unscaled


def _pair_of(c: ModelConfig, turns: float) -> float:
    """The pair of dimensions that turns so often in the original context, as a real number."""
    length = c.rope_original_context / (turns * 2 * math.pi)
    return c.rope_dim * math.log(length) / (2 * math.log(c.rope_theta))


def rotate(config: ModelConfig, x: Array, cos: Array, sin: Array) -> Array:
    """Rotate the first rope_dim dimensions of each head of x (tokens, heads, head_dim)."""
    c, out = config, x.copy()
    half = c.rope_dim // 2
    if c.rope_style == "interleaved":
        first, second = slice(0, c.rope_dim, 2), slice(1, c.rope_dim, 2)
    else:
        first, second = slice(0, half), slice(half, c.rope_dim)
    a, b = x[..., first], x[..., second]
    out[..., first] = a * cos - b * sin
    out[..., second] = a * sin + b * cos
    return out


def alibi_slopes(config: ModelConfig) -> NDArray[np.float64]:
    """By how much each head's scores fall with every position of distance, (n_heads,).

    A geometric series down to 2^-alibi_max_bias over the greatest power of two of heads; the
    heads beyond take every other term of the series for twice as many (Press et al., 2021).
    """
    whole = 1 << int(math.log2(config.n_heads))
    exponents = np.arange(1, whole + 1) / whole
    between = np.arange(1, 2 * (config.n_heads - whole), 2) / (2 * whole)
    slopes: NDArray[np.float64] = 2.0 ** (-config.alibi_max_bias * np.hstack([exponents, between]))
    return slopes
