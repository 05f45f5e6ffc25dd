"""GPT-2 and its descendants: layer norms with biases, and feed-forward networks without a gate."""

from __future__ import annotations

from mlr.formats.architectures.architecture import Architecture, Fields
from mlr.formats.architectures.header import Header

__all__ = ["GPT_FAMILY"]


def _gptneox(header: Header, _: Fields) -> Fields:
    return {"parallel_residual": header.flag("use_parallel_residual", True)}


GPT_FAMILY = {
    "gpt2": Architecture(
        {"norm": "layer", "positions": "learned", "activation": "gelu", "gated": False}
    ),
    "gptneox": Architecture({"norm": "layer", "activation": "gelu_erf", "gated": False}, _gptneox),
    # The 7B model has one norm for both branches, the 40B model two.
    "falcon": Architecture(
        {"norm": "layer", "parallel_residual": True, "activation": "gelu_erf", "gated": False}
    ),
    "bloom": Architecture(
        {"norm": "layer", "positions": "alibi", "activation": "gelu", "gated": False}
    ),
    "mpt": Architecture(
        {"norm": "layer", "positions": "alibi", "activation": "gelu_erf", "gated": False}
    ),
    "starcoder2": Architecture({"norm": "layer", "activation": "gelu", "gated": False}),
    "phi2": Architecture(
        {"norm": "layer", "parallel_residual": True, "activation": "gelu", "gated": False}
    ),
}
