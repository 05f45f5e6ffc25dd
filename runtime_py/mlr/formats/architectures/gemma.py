"""Gemma: embeddings scaled by the root of their width, gates of GELU, norms around branches."""

from __future__ import annotations

import math

from mlr.formats.architectures.architecture import Architecture, Fields
from mlr.formats.architectures.header import Header

__all__ = ["GEMMA_FAMILY"]


def _gemma3(_: Header, fields: Fields) -> Fields:
    # 27B (62 layers) alone scales queries by the width of a head's share of n_embd.
    refined: Fields = {"embedding_scale": math.sqrt(fields["n_embd"])}
    if fields["n_layers"] == 62:
        refined["attention_scale"] = 1.0 / math.sqrt(fields["n_embd"] // fields["n_heads"])
    return refined


GEMMA_FAMILY = {
    "gemma3": Architecture(
        {
            "activation": "gelu",
            "post_norm": "branch",
            "qk_norm": "head",
            "sliding_pattern": 6,
            "rope_theta_local": 10000.0,
        },
        _gemma3,
    ),
}
