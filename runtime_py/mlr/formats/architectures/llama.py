"""Llama and those that differ from it in a detail or two."""

from __future__ import annotations

from mlr.formats.architectures.architecture import Architecture, Fields
from mlr.formats.architectures.header import Header

__all__ = ["LLAMA_FAMILY"]

ACTIVATIONS = {"silu": "silu", "relu2": "relu_squared"}  # by `hidden_activation`


def _granite(_: Header, fields: Fields) -> Fields:
    """The file has what logits are divided by."""
    return {"logit_scale": 1.0 / fields["logit_scale"]}


def _bitnet(header: Header, fields: Fields) -> Fields:
    """The first BitNet has gates of SiLU, and its files do not say so."""
    name = header.string("hidden_activation", "")
    if name and name not in ACTIVATIONS:
        raise header.unsupported("hidden_activation", f"is {name!r:.40}, which is not supported")
    return {"activation": ACTIVATIONS.get(name, fields["activation"])}


def _exaone4(_: Header, fields: Fields) -> Fields:
    """Where some layers slide, the others are not rotated."""
    return {"rope_skip": 4 if fields["sliding_window"] else 0}


def _stablelm(header: Header, _: Fields) -> Fields:
    """The 12B model has one norm for both branches."""
    return {"parallel_residual": "blk.0.ffn_norm.weight" not in header.shapes}


LLAMA_FAMILY = {
    # Llama 2 and 3, Mistral, SmolLM and, with experts, Mixtral.
    "llama": Architecture({"rope_style": "interleaved"}),
    "smollm3": Architecture({"rope_style": "interleaved", "rope_skip": 4}),
    "qwen2": Architecture(),
    "qwen2moe": Architecture({"expert_weights_norm": False}),
    "qwen3": Architecture({"qk_norm": "head"}),
    "qwen3moe": Architecture({"qk_norm": "head"}),
    # Phi 3, 3.5 and 4.
    "phi3": Architecture(),
    "exaone": Architecture(),
    "exaone4": Architecture(
        {"pre_norm": False, "post_norm": "branch", "qk_norm": "head", "sliding_pattern": 4},
        _exaone4,
    ),
    "ernie4_5": Architecture({"rope_style": "interleaved"}),
    "glm4": Architecture({"rope_style": "interleaved", "post_norm": "branch"}),
    "arcee": Architecture(
        {"rope_style": "interleaved", "activation": "relu_squared", "gated": False}
    ),
    "nemotron": Architecture({"norm": "layer", "activation": "relu_squared", "gated": False}),
    "granite": Architecture({"rope_style": "interleaved"}, _granite),
    "granitemoe": Architecture({"rope_style": "interleaved"}, _granite),
    # OLMo 2 and 3; the latter slides in three layers of four.
    "olmo2": Architecture(
        {"pre_norm": False, "post_norm": "branch", "qk_norm": "full", "sliding_pattern": 4}
    ),
    "olmoe": Architecture({"qk_norm": "full", "expert_weights_norm": False}),
    "bitnet": Architecture({"sub_norms": True}, _bitnet),
    "bitnet-b1.58": Architecture({"sub_norms": True, "activation": "relu_squared"}, _bitnet),
    "stablelm": Architecture({"norm": "layer"}, _stablelm),
    # Command R, Aya; their successor rotates only where it slides.
    "command-r": Architecture(
        {"norm": "layer", "parallel_residual": True, "rope_style": "interleaved"}
    ),
    "cohere2": Architecture(
        {
            "norm": "layer",
            "parallel_residual": True,
            "rope_style": "interleaved",
            "rope_skip": 4,
            "sliding_pattern": 4,
        }
    ),
}
