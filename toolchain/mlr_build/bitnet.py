"""BitNet b1.58 in Hugging Face folders, and Llama with its linear layers.

`quantization_config` says which, and transformers (integrations/bitnet.py) what it means:

- "autobitlinear", offline: packed weights, `weight_scale` multiplies what comes out of them;
- "bitlinear": packed weights, `weight_scale` divides;
- "autobitlinear", online: floats, rounded here to what transformers rounds them in every pass;
- none: the linear layers are plain, and become what other matrices do (BitNet alone).

Rounding of activations to 8 bits is the engine's own.
"""

from __future__ import annotations

from typing import Any

from mlr.errors import FormatError, UnsupportedModelError
from mlr_build.decoder_tokenizer import decoder_tokenizer
from mlr_build.gguf_writer import TensorToWrite
from mlr_build.hf_family import Config, Family, integer, number, require
from mlr_build.hf_weights import Weights
from mlr_build.huggingface import SentenceSettings

__all__ = ["BITNET", "LLAMA"]

_LAYER = r"model\.layers\.(\d+)\."
_LINEAR = (
    (_LAYER + r"self_attn\.([qkv])_proj\.weight", r"blk.\1.attn_\2.weight"),
    (_LAYER + r"self_attn\.o_proj\.weight", r"blk.\1.attn_output.weight"),
    (_LAYER + r"mlp\.(gate|up|down)_proj\.weight", r"blk.\1.ffn_\2.weight"),
)


def _bitnet_metadata(config: Config, settings: SentenceSettings | None) -> dict[str, Any]:
    require(config, "hidden_act", "relu2")
    metadata = _metadata(config, settings, epsilon=1e-5, theta=500000.0)
    return metadata | {"hidden_activation": "relu2"}


def _llama_metadata(config: Config, settings: SentenceSettings | None) -> dict[str, Any]:
    require(config, "hidden_act", "silu")
    require(config, "mlp_bias", False)
    return _metadata(config, settings, epsilon=1e-6, theta=10000.0)


def _metadata(
    config: Config, settings: SentenceSettings | None, *, epsilon: float, theta: float
) -> dict[str, Any]:
    """`epsilon` and `theta` are transformers' own where the configuration has none."""
    if settings is not None:
        raise UnsupportedModelError("embeddings and scores of BitNet are not converted")
    require(config, "attention_bias", False)
    metadata = {
        "context_length": integer(config, "max_position_embeddings"),
        "embedding_length": integer(config, "hidden_size"),
        "feed_forward_length": integer(config, "intermediate_size"),
        "block_count": integer(config, "num_hidden_layers"),
        "attention.head_count": integer(config, "num_attention_heads"),
        "attention.head_count_kv": _kv_heads(config),
        "attention.layer_norm_rms_epsilon": number(config, "rms_norm_eps", epsilon),
        "rope.freq_base": _theta(config, theta),
    }
    if config.get("head_dim") is not None:
        size = integer(config, "head_dim")
        metadata |= dict.fromkeys(
            ("attention.key_length", "attention.value_length", "rope.dimension_count"), size
        )
    return metadata


def _kv_heads(config: Config) -> int:
    missing = config.get("num_key_value_heads") is None
    return integer(config, "num_attention_heads" if missing else "num_key_value_heads")


def _theta(config: Config, usual: float) -> float:
    require(config, "rope_scaling", None)
    rope = config.get("rope_parameters")
    if rope is None:
        return number(config, "rope_theta", usual)
    if not isinstance(rope, dict):
        raise FormatError("config.json", "rope_parameters", 0, "must be an object")
    require(rope, "rope_type", "default", "config.json: rope_parameters")
    return number(rope, "rope_theta", usual)


def _linear_layers(config: Config) -> str:
    """What the linear layers hold: "plain", "online", "multiplied" or "divided"."""
    given = config.get("quantization_config")
    if given is None:
        return "plain"
    if not isinstance(given, dict):
        raise FormatError("config.json", "quantization_config", 0, "must be an object")
    where = "config.json: quantization_config"
    require({"quant_method": None, **given}, "quant_method", "bitnet", where)
    require(given, "use_rms_norm", False, where)
    if given.get("modules_to_not_convert") is not None:
        require(given, "modules_to_not_convert", ["lm_head"], where)
    kind = given.get("linear_class", "bitlinear")
    if kind == "bitlinear":
        return "divided"
    require(given, "linear_class", "autobitlinear", where)
    if given.get("quantization_mode", "offline") == "online":
        return "online"
    require(given, "quantization_mode", "offline", where)
    return "multiplied"


def _bitnet_tensors(weights: Weights, config: Config) -> list[TensorToWrite]:
    from mlr_build.numbers.bitnet_linear import ternary_tensors

    _tie(weights, config)
    layers = _linear_layers(config)
    return [] if layers == "plain" else ternary_tensors(weights, _LINEAR, layers, {})


def _llama_tensors(weights: Weights, config: Config) -> list[TensorToWrite]:
    from mlr_build.numbers.bitnet_linear import ternary_tensors

    _tie(weights, config)
    layers = _linear_layers(config)
    if layers == "plain":
        raise UnsupportedModelError(
            "config.json: model_type 'llama' is converted from safetensors with BitNet's "
            "quantization_config alone (others: package a GGUF file)"
        )
    heads = {"attn_q": integer(config, "num_attention_heads"), "attn_k": _kv_heads(config)}
    return ternary_tensors(weights, _LINEAR, layers, heads)


def _tie(weights: Weights, config: Config) -> None:
    """Leave out a matrix of the output that is that of the embeddings."""
    if config.get("tie_word_embeddings", False):
        weights.pop("lm_head.weight", None)
    elif "lm_head.weight" not in weights:
        raise FormatError(
            "config.json", "tie_word_embeddings", 0, "is not true, and lm_head.weight is missing"
        )


_NAMES = (
    (r"model\.embed_tokens\.weight", "token_embd.weight"),
    (r"model\.norm\.weight", "output_norm.weight"),
    (r"lm_head\.weight", "output.weight"),
    (_LAYER + r"input_layernorm\.weight", r"blk.\1.attn_norm.weight"),
    (_LAYER + r"post_attention_layernorm\.weight", r"blk.\1.ffn_norm.weight"),
)
_IGNORED = r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"

BITNET = Family(
    "bitnet-b1.58",  # by this name other programs, too, know the one whose activation is ReLU²
    _bitnet_metadata,
    decoder_tokenizer,
    (
        *_NAMES,
        (_LAYER + r"self_attn\.attn_sub_norm\.weight", r"blk.\1.attn_sub_norm.weight"),
        (_LAYER + r"mlp\.ffn_sub_norm\.weight", r"blk.\1.ffn_sub_norm.weight"),
        *_LINEAR,
    ),
    ignored=_IGNORED,
    kept=r"$",
    own=_bitnet_tensors,
)
LLAMA = Family(
    "llama",
    _llama_metadata,
    decoder_tokenizer,
    _NAMES,
    ignored=_IGNORED,
    kept=r"$",
    own=_llama_tensors,
)
