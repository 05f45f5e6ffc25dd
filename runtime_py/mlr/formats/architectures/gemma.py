"""Gemma: embeddings scaled by the root of their width, gates of GELU, norms around branches."""

from __future__ import annotations

import math

from mlr.formats.architectures.architecture import Architecture, Fields
from mlr.formats.architectures.header import Header

__all__ = ["GEMMA_FAMILY"]

# The largest Gemma 2 and 3, by their layers, scale queries by a head's share of n_embd.
WIDE = {"gemma2": 46, "gemma3": 62}


def _gemma(header: Header, fields: Fields) -> Fields:
    refined: Fields = {"embedding_scale": math.sqrt(fields["n_embd"])}
    if fields["n_layers"] == WIDE.get(header.architecture):
        refined["attention_scale"] = 1.0 / math.sqrt(fields["n_embd"] // fields["n_heads"])
    return refined


GEMMA_FAMILY = {
    "gemma": Architecture({"activation": "gelu"}, _gemma),
    "gemma2": Architecture(
        {
            "activation": "gelu",
            "post_norm": "branch",
            "sliding_window": 4096,
            "sliding_pattern": 2,
            "attention_softcap": 50.0,
            "final_softcap": 30.0,
        },
        _gemma,
    ),
    "gemma3": Architecture(
        {
            "activation": "gelu",
            "post_norm": "branch",
            "qk_norm": "head",
            "sliding_pattern": 6,
            "rope_theta_local": 10000.0,
        },
        _gemma,
    ),
}
