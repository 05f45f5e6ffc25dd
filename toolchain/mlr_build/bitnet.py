"""BitNet b1.58 in Hugging Face folders: packed, to be rounded, or as plain floats.

`quantization_config` says which, and transformers (integrations/bitnet.py) what it means:

- "autobitlinear", offline: packed weights, `weight_scale` multiplies what comes out of them;
- "bitlinear": packed weights, `weight_scale` divides;
- "autobitlinear", online: floats, rounded here to what transformers rounds them in every pass;
- none: the linear layers are plain, and become what other matrices do.

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

__all__ = ["BITNET"]

_THETA = 500000.0  # transformers' default
_LAYER = r"model\.layers\.(\d+)\."
_LINEAR = (
    (_LAYER + r"self_attn\.([qkv])_proj\.weight", r"blk.\1.attn_\2.weight"),
    (_LAYER + r"self_attn\.o_proj\.weight", r"blk.\1.attn_output.weight"),
    (_LAYER + r"mlp\.(gate|up|down)_proj\.weight", r"blk.\1.ffn_\2.weight"),
)


def _metadata(config: Config, settings: SentenceSettings | None) -> dict[str, Any]:
    if settings is not None:
        raise UnsupportedModelError("embeddings and scores of BitNet are not converted")
    require(config, "hidden_act", "relu2")
    require(config, "attention_bias", False)
    heads = integer(config, "num_attention_heads")
    metadata = {
        "context_length": integer(config, "max_position_embeddings"),
        "embedding_length": integer(config, "hidden_size"),
        "feed_forward_length": integer(config, "intermediate_size"),
        "block_count": integer(config, "num_hidden_layers"),
        "attention.head_count": heads,
        "attention.head_count_kv": integer(config, "num_key_value_heads", heads),
        "attention.layer_norm_rms_epsilon": number(config, "rms_norm_eps", 1e-5),
        "rope.freq_base": _theta(config),
        "hidden_activation": "relu2",
    }
    if config.get("head_dim") is not None:
        size = integer(config, "head_dim")
        metadata |= {"attention.key_length": size, "attention.value_length": size}
    return metadata


def _theta(config: Config) -> float:
    require(config, "rope_scaling", None)
    rope = config.get("rope_parameters")
    if rope is None:
        return number(config, "rope_theta", _THETA)
    if not isinstance(rope, dict):
        raise FormatError("config.json", "rope_parameters", 0, "must be an object")
    require(rope, "rope_type", "default", "config.json: rope_parameters")
    return number(rope, "rope_theta", _THETA)


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


def _own_tensors(weights: Weights, config: Config) -> list[TensorToWrite]:
    from mlr_build.numbers.bitnet_linear import ternary_tensors

    if config.get("tie_word_embeddings", False):
        weights.pop("lm_head.weight", None)
    elif "lm_head.weight" not in weights:
        raise FormatError(
            "config.json", "tie_word_embeddings", 0, "is not true, and lm_head.weight is missing"
        )
    layers = _linear_layers(config)
    return [] if layers == "plain" else ternary_tensors(weights, _LINEAR, layers)


BITNET = Family(
    "bitnet-b1.58",  # by this name other programs, too, know the one whose activation is ReLU²
    _metadata,
    decoder_tokenizer,
    (
        (r"model\.embed_tokens\.weight", "token_embd.weight"),
        (r"model\.norm\.weight", "output_norm.weight"),
        (r"lm_head\.weight", "output.weight"),
        (_LAYER + r"input_layernorm\.weight", r"blk.\1.attn_norm.weight"),
        (_LAYER + r"post_attention_layernorm\.weight", r"blk.\1.ffn_norm.weight"),
        (_LAYER + r"self_attn\.attn_sub_norm\.weight", r"blk.\1.attn_sub_norm.weight"),
        (_LAYER + r"mlp\.ffn_sub_norm\.weight", r"blk.\1.ffn_sub_norm.weight"),
        *_LINEAR,
    ),
    ignored=r"model\.rotary_emb\.inv_freq",
    kept=r"$",
    own=_own_tensors,
)
