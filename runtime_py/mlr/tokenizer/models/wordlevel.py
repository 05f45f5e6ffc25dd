"""One token a word."""

from __future__ import annotations

from collections.abc import Iterable

from mlr.tokenizer.vocabulary import Vocabulary

__all__ = ["WordLevel"]


class WordLevel:
    """Words that are no token become the unknown token, or nothing when there is none."""

    def __init__(self, vocabulary: Vocabulary, unk_id: int | None) -> None:
        self._find = vocabulary.find
        self._unk_id = unk_id

    def encode(self, pieces: Iterable[str]) -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            token_id = self._find(piece)
            if token_id is None:
                token_id = self._unk_id
            if token_id is not None:
                ids.append(token_id)
        return ids
