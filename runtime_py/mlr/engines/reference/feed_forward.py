"""Feed-forward networks: one for all tokens, or experts of which each token uses a few."""

from __future__ import annotations

import numpy as np

from mlr.engines.reference.operations import ACTIVATIONS, Array, Weights, sigmoid, softmax
from mlr.formats.model_config import ModelConfig

__all__ = ["feed_forward"]


def feed_forward(config: ModelConfig, weights: Weights, layer: int, x: Array) -> Array:
    """What the feed-forward network of `layer` makes of its normed input x (tokens, n_embd)."""
    prefix = f"blk.{layer}."
    if not config.n_experts:
        return _dense(config, weights, prefix, x)
    out = _experts(config, weights, prefix, x)
    return out + _shared_expert(config, weights, prefix, x) if config.n_ff_shared else out


def _dense(c: ModelConfig, weights: Weights, prefix: str, x: Array) -> Array:
    activation = ACTIVATIONS[c.activation]
    hidden: Array
    up = weights.linear(x, prefix + "ffn_up")
    if c.fused_gate_up:
        gate, up = np.split(up, 2, axis=-1)
        hidden = activation(gate) * up
    elif c.gated:
        hidden = activation(weights.linear(x, prefix + "ffn_gate")) * up
    else:
        hidden = activation(up)
    if c.sub_norms:
        hidden = weights.norm(hidden, prefix + "ffn_sub_norm")
    return weights.linear(hidden, prefix + "ffn_down")


def _experts(c: ModelConfig, weights: Weights, prefix: str, x: Array) -> Array:
    """The sum of the best experts' outputs, by the shares that the router gives them."""
    activation = ACTIVATIONS[c.activation]
    shares = softmax(weights.linear(x, prefix + "ffn_gate_inp"))  # (tokens, n_experts)
    used = np.argsort(-shares, axis=-1, kind="stable")[:, : c.n_experts_used]
    out = np.zeros_like(x)
    for token, experts in enumerate(used):
        row, parts = x[token], shares[token, experts]
        if c.expert_weights_norm:
            parts = parts / parts.sum()
        for expert, part in zip(experts, parts * x.dtype.type(c.expert_weights_scale), strict=True):
            gate = weights.expert(row, prefix + "ffn_gate_exps", expert)
            up = weights.expert(row, prefix + "ffn_up_exps", expert)
            hidden = activation(gate) * up
            out[token] += part * weights.expert(hidden, prefix + "ffn_down_exps", expert)
    return out


def _shared_expert(c: ModelConfig, weights: Weights, prefix: str, x: Array) -> Array:
    gate, up = (weights.linear(x, f"{prefix}ffn_{name}_shexp") for name in ("gate", "up"))
    out = weights.linear(ACTIVATIONS[c.activation](gate) * up, prefix + "ffn_down_shexp")
    if prefix + "ffn_gate_inp_shexp.weight" in weights:
        out = out * sigmoid(x @ weights[prefix + "ffn_gate_inp_shexp.weight"])[:, None]
    return out
