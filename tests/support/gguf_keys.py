"""A configuration written as the keys of a GGUF file, as llama.cpp's converter writes them."""

from __future__ import annotations

import math

import gguf

from mlr.formats.model_config import CHOICES, ModelConfig

__all__ = ["add_hyperparameters"]

GRANITE = ("granite", "granitemoe")


def add_hyperparameters(writer: gguf.GGUFWriter, config: ModelConfig) -> None:
    """Add the keys from which `ModelConfig.from_gguf` reads `config` back."""
    c = config
    writer.add_block_count(c.n_layers)
    writer.add_embedding_length(c.n_embd)
    writer.add_feed_forward_length(c.n_ff)
    writer.add_context_length(c.context_length)
    writer.add_head_count(c.n_heads)
    writer.add_head_count_kv(c.n_kv_heads)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    if c.norm == "layer":
        writer.add_layer_norm_eps(c.norm_epsilon)
    else:
        writer.add_layer_norm_rms_eps(c.norm_epsilon)
    _add_positions(writer, c)
    _add_scales(writer, c)
    if c.sliding_window:
        writer.add_sliding_window(c.sliding_window)
    if c.n_experts:
        writer.add_expert_count(c.n_experts)
        writer.add_expert_used_count(c.n_experts_used)
        writer.add_expert_feed_forward_length(c.n_ff_expert)
    if c.n_ff_shared:
        writer.add_expert_shared_feed_forward_length(c.n_ff_shared)
    if c.architecture == "gptneox":
        writer.add_parallel_residual(c.parallel_residual)
    if not c.causal:
        writer.add_causal_attention(False)
    if c.pooling != "none":
        writer.add_pooling_type(gguf.PoolingType(CHOICES["pooling"].index(c.pooling)))
    if c.token_types:
        writer.add_token_type_count(c.token_types)


def _add_positions(writer: gguf.GGUFWriter, c: ModelConfig) -> None:
    if c.positions == "alibi":
        writer.add_max_alibi_bias(c.alibi_max_bias)
    if c.positions != "rope":
        return
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_rope_dimension_count(c.rope_dim)
    if c.rope_scaling == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(1.0 / c.rope_scale)
    if c.rope_scaling == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(1.0 / c.rope_scale)
        writer.add_rope_scaling_orig_ctx_len(c.rope_original_context)
    if c.rope_scaling == "longrope":
        writer.add_rope_scaling_orig_ctx_len(c.rope_original_context)
        writer.add_rope_scaling_attn_factors(c.rope_attention_factor)


def _add_scales(writer: gguf.GGUFWriter, c: ModelConfig) -> None:
    if c.architecture in GRANITE:
        writer.add_embedding_scale(c.embedding_scale)
        writer.add_residual_scale(c.residual_scale)
        writer.add_logit_scale(1.0 / c.logit_scale)
    elif c.logit_scale != 1.0:
        writer.add_logit_scale(c.logit_scale)
    if not math.isclose(c.attention_scale, c.head_dim**-0.5):
        writer.add_attention_scale(c.attention_scale)
    if c.attention_softcap:
        writer.add_attn_logit_softcapping(c.attention_softcap)
    if c.final_softcap:
        writer.add_final_logit_softcapping(c.final_softcap)
