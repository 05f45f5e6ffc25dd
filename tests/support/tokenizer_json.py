"""Whole tokenizer.jsons of GGUF metadata, for Hugging Face's `tokenizers` as an oracle.

What `mlr-build` writes of one, with the vocabulary, the merges and the added tokens that it leaves
to the packed tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.tokenizer import from_gguf
from mlr.tokenizer.gguf_fields import GgufFields, TokenType
from mlr.tokenizer.models.merging import merge
from mlr.tokenizer.vocabulary import SPACE
from mlr_build.tokenizer_json import convert

__all__ = ["whole_tokenizer_json"]

ADDED = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)


def whole_tokenizer_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Raises what `convert` raises."""
    content = convert(metadata, from_gguf(metadata))
    fields = GgufFields(metadata, {})
    tokens = {token_id: text for token_id, text in enumerate(fields.vocabulary.texts()) if text}
    added = {token_id for token_id in fields.with_type(*ADDED) if token_id in tokens}
    model = content["model"]
    model["vocab"] = {text: token_id for token_id, text in tokens.items()}
    if fields.get("model") == "llama":
        model["merges"] = _merges_by_score(fields)
    elif model["type"] == "BPE":
        model["merges"] = _unique(fields.get("merges"))
    content["added_tokens"] = [
        {
            "id": token_id,
            "content": tokens[token_id],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": fields.types[token_id] != TokenType.USER_DEFINED,
        }
        for token_id in sorted(added)
    ]
    return content


def _unique(merges: list[Any]) -> list[list[str]]:
    """Of a merge that comes twice the first counts."""
    pairs = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]
    return [list(pair) for pair in dict.fromkeys(pairs)]


def _merges_by_score(fields: GgufFields) -> list[list[str]]:
    """The merges that SentencePiece does, in its order, where all scores are different.

    When a token comes about, its own characters have merged as they would alone, because
    nothing across its ends has. So every token has one last merge, or none when its characters
    alone do not become it, and the order of the merges is that of the scores.
    """
    tokens, scores = list(fields.vocabulary.texts()), fields.scores()
    waits = {token: -score for token, score in zip(tokens, scores, strict=True)}
    added = set(fields.with_type(*ADDED))
    last: list[str] = []

    def join(left: str, right: str) -> str:
        last[:] = left, right
        return left + right

    found: list[tuple[float, int, list[str]]] = []
    for token_id, token in enumerate(tokens):
        if len(token) < 2 or (token_id in added and SPACE not in token):
            continue  # added tokens are cut out of a text before anything merges
        if len(merge(list(token), lambda a, b: waits.get(a + b), join)) == 1:
            found.append((-scores[token_id], token_id, list(last)))
    assert len({score for score, _, _ in found}) == len(found)
    return [pair for _, _, pair in sorted(found)]
