"""One token a word."""

from __future__ import annotations

from collections.abc import Iterable

from mlr.tokenizer.vocabulary import Vocabulary

__all__ = ["WordLevel"]


class WordLevel:
    """Words that are no token become the unknown token, or nothing when there is none."""

    def __init__(self, vocabulary: Vocabulary, unk_id: int | None) -> None:
        self._ids = vocabulary.ids
        self._unk_id = unk_id

    def encode(self, pieces: Iterable[str]) -> list[int]:
        found = (self._ids.get(piece, self._unk_id) for piece in pieces)
        return [token_id for token_id in found if token_id is not None]
