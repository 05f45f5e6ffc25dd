"""From GGUF metadata to the fields of `ModelConfig`: what is the same for every architecture."""

from __future__ import annotations

import math

from mlr.errors import FormatError
from mlr.formats.architectures.architecture import Architecture, Fields
from mlr.formats.architectures.header import Header

__all__ = ["read_fields"]

POOLING = ("none", "mean", "cls", "last", "rank")  # by `pooling_type`
SOFTMAX_GATING = 1  # `expert_gating_func`


def read_fields(header: Header, architecture: Architecture) -> Fields:
    """The fields of `ModelConfig`.

    Keys are those of the GGUF specification (`{architecture}.block_count`, …). Raises
    `FormatError` for one that is missing or broken, and `UnsupportedModelError` for one that
    asks for what cannot be computed.
    """
    traits = architecture.traits
    fields: Fields = {"activation": "silu", **traits, "architecture": header.architecture}
    fields |= _shape(header)
    fields |= _norm(header, fields)
    fields |= _attention(header, fields)
    fields |= _positions(header, fields)
    fields |= _window(header, fields)
    fields |= _feed_forward(header, fields)
    fields |= _scales(header, fields)
    fields |= _pooling(header, fields)
    if architecture.refine:
        fields |= architecture.refine(header, fields)
    header.refuse_the_rest()
    return fields


def _shape(header: Header) -> Fields:
    n_embd, n_heads = header.integer("embedding_length"), header.integer("attention.head_count")
    if n_embd < 1 or n_heads < 1:
        raise header.broken("attention.head_count", "must be at least 1")
    head_dim = header.integer("attention.key_length", n_embd // n_heads)
    if header.integer("attention.value_length", head_dim) != head_dim:
        raise header.unsupported(
            "attention.value_length", "differs from key_length, which is not supported"
        )
    embedding = header.shapes.get("token_embd.weight")
    if embedding is None or len(embedding) != 2:
        raise FormatError(header.file, "token_embd.weight", 0, "is missing or not a matrix")
    return {
        "n_layers": header.integer("block_count"),
        "n_embd": n_embd,
        "n_heads": n_heads,
        "n_kv_heads": header.integer("attention.head_count_kv", n_heads),
        "head_dim": head_dim,
        "n_vocab": embedding[0],
        "context_length": header.integer("context_length"),
    }


def _norm(header: Header, fields: Fields) -> Fields:
    kind = "layer_norm" if fields.get("norm") == "layer" else "layer_norm_rms"
    return {"norm_epsilon": header.number(f"attention.{kind}_epsilon")}


def _attention(header: Header, fields: Fields) -> Fields:
    if header.number("attention.clamp_kqv", 0.0) > 0:
        raise header.unsupported("attention.clamp_kqv", "clamps attention: not supported")
    return {
        "fused_qkv": "blk.0.attn_qkv.weight" in header.shapes,
        "causal": header.flag("attention.causal", fields.get("causal", True)),
    }


def _positions(header: Header, fields: Fields) -> Fields:
    theta = header.number("rope.freq_base", 10000.0)
    rotary: Fields = {
        "rope_style": fields.get("rope_style", "half"),
        "rope_theta": theta,
        "rope_theta_local": theta,
        "rope_scale": 1.0,
        "rope_dim": 0,
    }
    if fields.get("positions", "rope") != "rope":
        header.integer("rope.dimension_count", 0)
        if fields["positions"] == "alibi":
            rotary["alibi_max_bias"] = header.number(
                "attention.max_alibi_bias", fields.get("alibi_max_bias", 8.0)
            )
        return rotary
    rotary["rope_dim"] = header.integer("rope.dimension_count", fields["head_dim"])
    rotary["rope_theta_local"] = header.number(
        "rope.freq_base_swa", fields.get("rope_theta_local", theta)
    )
    return rotary | _rope_scaling(header)


def _rope_scaling(header: Header) -> Fields:
    factor = header.number("rope.scale_linear", 0.0)  # how old files say "linear"
    kind = header.string("rope.scaling.type", "linear" if factor else "none")
    if "rope_factors_long.weight" in header.shapes:
        kind = "longrope"
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise header.unsupported(
            "rope.scaling.type",
            f"is {kind!r:.40}, which is not supported; supported: none, linear, yarn, longrope, "
            "and Llama 3's rope_freqs tensor",
        )
    factor = header.number("rope.scaling.factor", factor or 1.0)
    attention_factor = header.number("rope.scaling.attn_factor", 1.0)
    original = header.integer("rope.scaling.original_context_length", 0)
    if header.number("rope.scaling.yarn_log_multiplier", 0.0) != 0.0:
        raise header.unsupported("rope.scaling.yarn_log_multiplier", "is not supported")
    yarn = {
        "rope_scaling": "yarn",
        "rope_original_context": original or header.integer("context_length"),
        "rope_extension": header.number("rope.scaling.yarn_ext_factor", 1.0),
        "rope_beta_fast": header.number("rope.scaling.yarn_beta_fast", 32.0),
        "rope_beta_slow": header.number("rope.scaling.yarn_beta_slow", 1.0),
    }
    yarn_attention_factor = header.number("rope.scaling.yarn_attn_factor", 1.0)
    if kind == "longrope":
        return {
            "rope_scaling": "longrope",
            "rope_original_context": original,
            "rope_attention_factor": attention_factor,
        }
    if factor <= 0:
        raise header.broken("rope.scaling.factor", f"must be positive, got {factor}")
    if kind == "none" or factor == 1.0:
        return {}
    if kind == "linear":
        return {"rope_scaling": "linear", "rope_scale": 1.0 / factor}
    # Attention is made sharper by as much as longer contexts dilute it (YaRN, section 3.4).
    attention_factor *= yarn_attention_factor * (1.0 + 0.1 * math.log(factor))
    return yarn | {"rope_scale": 1.0 / factor, "rope_attention_factor": attention_factor}


def _window(header: Header, fields: Fields) -> Fields:
    window = header.integer("attention.sliding_window", fields.get("sliding_window", 0))
    everywhere = fields["n_layers"] + 1
    for key, same in (
        ("attention.key_length_swa", fields["head_dim"]),
        ("attention.value_length_swa", fields["head_dim"]),
        ("rope.dimension_count_swa", fields["rope_dim"]),
    ):
        if header.integer(key, same) != same:
            raise header.unsupported(key, f"is not {same}, as of other layers: not supported")
    slides = header.flags("attention.sliding_window_pattern")
    if slides is not None:
        pattern = _period(header, slides)
    else:
        pattern = header.integer(
            "attention.sliding_window_pattern", fields.get("sliding_pattern", everywhere)
        )
    # A window as long as the context hides nothing.
    if window >= fields["context_length"] or pattern < 2:
        window = 0
    # Where only some layers slide, these are not scaled. Where all do, nobody says how it is.
    if window and pattern == everywhere and fields.get("rope_scaling", "none") != "none":
        raise header.unsupported(
            "attention.sliding_window", "with rotary scaling in every layer is not supported"
        )
    return {"sliding_window": window, "sliding_pattern": pattern if window else 0}


def _period(header: Header, slides: list[bool]) -> int:
    """The n for which every n-th layer is global, from what each layer is."""
    pattern = slides.index(False) + 1 if False in slides else len(slides) + 1
    if slides != [(i + 1) % pattern != 0 for i in range(len(slides))]:
        raise header.unsupported(
            "attention.sliding_window_pattern", "is irregular, which is not supported"
        )
    return pattern


def _feed_forward(header: Header, fields: Fields) -> Fields:
    n_experts = header.integer("expert_count", 0)
    n_ff = header.integer("feed_forward_length", 0 if n_experts else None)
    n_ff_expert = header.integer("expert_feed_forward_length", n_ff)
    shared = header.shapes.get("blk.0.ffn_up_shexp.weight", (0,))[0]
    used = header.integer("expert_used_count", 0)
    if header.integer("expert_gating_func", SOFTMAX_GATING) not in (0, SOFTMAX_GATING):
        raise header.unsupported("expert_gating_func", "is not softmax, which is not supported")
    scale = header.number("expert_weights_scale", 0.0)
    norm = header.flag("expert_weights_norm", fields.get("expert_weights_norm", True))
    header.integer("expert_shared_feed_forward_length", 0)
    header.integer("expert_shared_count", 0)
    if not n_experts:
        fused = fields.get("gated", True) and "blk.0.ffn_gate.weight" not in header.shapes
        return {"n_ff": n_ff, "fused_gate_up": fused, "expert_weights_norm": False}
    return {
        "n_ff": n_ff or n_ff_expert,
        "n_experts": n_experts,
        "n_experts_used": used,
        "n_ff_expert": n_ff_expert,
        "n_ff_shared": shared,
        "expert_weights_norm": norm,
        "expert_weights_scale": scale or 1.0,
    }


def _scales(header: Header, fields: Fields) -> Fields:
    head = 1.0 / math.sqrt(max(fields["head_dim"], 1))
    return {
        "embedding_scale": header.number("embedding_scale", 0.0) or 1.0,
        "residual_scale": header.number("residual_scale", 0.0) or 1.0,
        "logit_scale": header.number("logit_scale", 0.0) or 1.0,
        "attention_scale": header.number("attention.scale", 0.0) or head,
        "attention_softcap": header.number(
            "attn_logit_softcapping", fields.get("attention_softcap", 0.0)
        ),
        "final_softcap": header.number("final_logit_softcapping", fields.get("final_softcap", 0.0)),
        "embedding_norm": "token_embd_norm.weight" in header.shapes,
        "token_types": header.shapes.get("token_types.weight", (0,))[0],
    }


def _pooling(header: Header, fields: Fields) -> Fields:
    usual = "none" if fields["causal"] else "mean"
    number = header.integer("pooling_type", POOLING.index(usual))
    if not 0 <= number < len(POOLING):
        raise header.unsupported("pooling_type", f"is {number}, which is not supported")
    return {"pooling": POOLING[number]}
