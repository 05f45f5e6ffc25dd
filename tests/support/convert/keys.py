"""From a transformers configuration to the keys of a GGUF file, as llama.cpp does it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

__all__ = ["add_keys", "rope_tensors"]

EPSILONS = (
    *("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"),
    "layer_norm_epsilon",
)
LAYER_NORM = (
    *("stablelm", "command-r", "cohere2", "gpt2", "gptneox", "falcon", "bloom", "mpt"),
    *("starcoder2", "phi2", "nemotron", "bert", "nomic-bert"),
)
NO_ROPE = ("gpt2", "bloom", "mpt", "bert")


def _first(config: Any, *names: str) -> Any:
    return next(getattr(config, name) for name in names if getattr(config, name, None) is not None)


def _head_dim(config: Any) -> int:
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(size)


def _feed_forward(config: Any) -> int:
    for name in ("intermediate_size", "n_inner", "ffn_hidden_size"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    return 4 * int(config.hidden_size)


def _kv_heads(config: Any) -> int:
    if hasattr(config, "new_decoder_architecture"):  # Falcon
        return int(config.num_kv_heads) if config.new_decoder_architecture else 1
    return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)


def _context(architecture: str, config: Any) -> int:
    if architecture == "bloom":
        return 128
    names = ("max_position_embeddings", "max_seq_len", "seq_length", "n_positions")
    trained = int(_first(config, *names))
    return int(trained * _rope(config)["factor"]) if _is_ntk(config) else trained


def add_keys(writer: gguf.GGUFWriter, architecture: str, config: Any) -> None:
    """The hyperparameters of a model."""
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(_feed_forward(config))
    writer.add_context_length(_context(architecture, config))
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(_kv_heads(config))
    if getattr(config, "head_dim", None):
        writer.add_key_length(_head_dim(config))
        writer.add_value_length(_head_dim(config))
    add = writer.add_layer_norm_eps if architecture in LAYER_NORM else writer.add_layer_norm_rms_eps
    add(_first(config, *EPSILONS))
    if architecture not in NO_ROPE:
        _add_rope(writer, architecture, config)
    if architecture in MORE:
        MORE[architecture](writer, config)


def _rope(config: Any) -> dict[str, Any]:
    parameters: dict[str, Any] = config.rope_parameters
    full: dict[str, Any] = parameters.get("full_attention", parameters)
    return full


def _is_ntk(config: Any) -> bool:
    return (
        bool(getattr(config, "rope_parameters", None)) and _rope(config)["rope_type"] == "dynamic"
    )


def _base(config: Any) -> float:
    """Files have no type for NTK: its base is larger, here for the whole of the longer context."""
    rope, dim = _rope(config), _rope_dim(config)
    if not _is_ntk(config):
        return float(rope["rope_theta"])
    longer = rope["factor"] ** 2 - rope["factor"] + 1
    return float(rope["rope_theta"] * longer ** (dim / (dim - 2)))


def _rope_dim(config: Any) -> int:
    part = _rope(config).get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", 1)
    return int(_head_dim(config) * (part or 1))


def _add_rope(writer: gguf.GGUFWriter, architecture: str, config: Any) -> None:
    rope = _rope(config)
    writer.add_rope_freq_base(_base(config))
    writer.add_rope_dimension_count(_rope_dim(config))
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "longrope":
        original = rope["original_max_position_embeddings"]
        scale = config.max_position_embeddings / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))


def rope_tensors(config: Any) -> dict[str, NDArray[np.float64]]:
    """The tensors that rotary scaling adds: divisors of the frequencies."""
    parameters = getattr(config, "rope_parameters", None) or {}
    rope = parameters.get("full_attention", parameters)
    if rope.get("rope_type") == "longrope":
        return {
            f"rope_factors_{kind}.weight": np.array(rope[f"{kind}_factor"])
            for kind in ("long", "short")
        }
    if rope.get("rope_type") != "llama3":
        return {}
    dim, old = _head_dim(config), rope["original_max_position_embeddings"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    divisors = []
    for frequency in rope["rope_theta"] ** -(np.arange(0, dim, 2) / dim):
        length = 2 * math.pi / frequency
        if length < old / high:
            divisors.append(1.0)
        elif length > old / low:
            divisors.append(rope["factor"])
        else:
            smooth = (old / length - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return {"rope_freqs.weight": np.array(divisors)}


def _window(writer: gguf.GGUFWriter, config: Any) -> None:
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)


def _experts(writer: gguf.GGUFWriter, config: Any) -> None:
    _window(writer, config)
    if not hasattr(config, "num_experts_per_tok"):
        return
    writer.add_expert_count(_first(config, "num_local_experts", "num_experts"))
    writer.add_expert_used_count(config.num_experts_per_tok)
    if getattr(config, "moe_intermediate_size", None):
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    shared = ("shared_expert_intermediate_size", "shared_intermediate_size")
    if any(hasattr(config, name) for name in shared):
        writer.add_expert_shared_feed_forward_length(_first(config, *shared))


def _granite(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_attention_scale(config.attention_multiplier)
    writer.add_embedding_scale(config.embedding_multiplier)
    writer.add_residual_scale(config.residual_multiplier)
    writer.add_logit_scale(config.logits_scaling)
    _experts(writer, config)


def _gemma2(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    writer.add_final_logit_softcapping(config.final_logit_softcapping)
    _window(writer, config)


def _cohere(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_logit_scale(config.logit_scale)
    _window(writer, config)


def _alibi(writer: gguf.GGUFWriter, _: Any) -> None:
    writer.add_max_alibi_bias(8.0)


def _bert(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_causal_attention(False)
    writer.add_token_type_count(config.type_vocab_size)


MORE: dict[str, Callable[[gguf.GGUFWriter, Any], None]] = {
    "llama": _experts,
    "qwen2moe": _experts,
    "qwen3moe": _experts,
    "granite": _granite,
    "granitemoe": _granite,
    "gemma2": _gemma2,
    "gemma3": _window,
    "phi3": _window,
    "olmo2": _window,
    "exaone4": _window,
    "olmoe": _experts,
    "starcoder2": _window,
    "command-r": _cohere,
    "cohere2": _cohere,
    "gptneox": lambda writer, config: writer.add_parallel_residual(config.use_parallel_residual),
    "bitnet": lambda writer, config: writer.add_string(
        "bitnet.hidden_activation", config.hidden_act
    ),
    "mpt": _alibi,
    "bert": _bert,
    "nomic-bert": _bert,
}
