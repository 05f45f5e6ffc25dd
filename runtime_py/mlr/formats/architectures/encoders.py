"""Encoders: every token sees every other, and each branch's norm comes after the sum."""

from __future__ import annotations

from mlr.formats.architectures.architecture import Architecture

__all__ = ["ENCODERS"]

_BERT = {"norm": "layer", "pre_norm": False, "post_norm": "sum", "causal": False}

ENCODERS = {
    # BERT, MiniLM, RoBERTa, E5, BGE.
    "bert": Architecture(
        {**_BERT, "positions": "learned", "activation": "gelu_erf", "gated": False}
    ),
    "nomic-bert": Architecture(_BERT),
    "jina-bert-v2": Architecture({**_BERT, "positions": "alibi", "activation": "gelu_erf"}),
}
