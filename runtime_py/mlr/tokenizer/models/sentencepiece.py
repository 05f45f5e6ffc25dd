"""Byte-pair encoding as SentencePiece trains it: merges are ordered by the score of the result."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from mlr.tokenizer.models.cache import WordCache
from mlr.tokenizer.models.merging import merge
from mlr.tokenizer.vocabulary import SPACE, Vocabulary

__all__ = ["SentencePieceBPE", "safe_boundaries"]


def safe_boundaries(vocabulary: Vocabulary) -> re.Pattern[str] | None:
    """A pattern of the places in a text that no merge can cross, for cutting it into words.

    Every symbol that merging can make is a token. So where no token has `x` followed by `▁`,
    nothing ever merges across that place, and the text may be cut there without changing the
    result. None when the vocabulary gives no such guarantee: a `▁` that is no token itself
    might be joined to unknown characters before it.
    """
    if vocabulary.find(SPACE) is None:
        return None
    glue = {SPACE, *vocabulary.before_space()}
    return re.compile(f"(?={SPACE})(?<![{re.escape(''.join(sorted(glue)))}])")


class SentencePieceBPE:
    """Merges the neighbours whose concatenation is the token of the highest score.

    `score(id)` is a token's. That of an id in `falling` is -id, which is known without asking: in
    most vocabularies that is nearly all. `byte_ids[b]` is the token for byte b, used for characters
    that are no token.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        score: Callable[[int], float],
        byte_ids: Sequence[int | None],
        unk_id: int | None,
        falling: range = range(0),
    ) -> None:
        self._find = vocabulary.find
        self._score = score
        self._first, self._end = falling.start, falling.stop
        self._byte_ids = byte_ids
        self._unk_id = unk_id
        self._boundaries = safe_boundaries(vocabulary)
        self._cache = WordCache(self._encode_word)

    def encode(self, pieces: Iterable[str]) -> list[int]:
        if self._boundaries is None:
            return self._cache.encode(pieces)
        split = self._boundaries.split
        return self._cache.encode(word for piece in pieces for word in split(piece))

    def _encode_word(self, word: str) -> list[int]:
        ids: list[int] = []
        for symbol in merge(list(word), self._wait, _join):
            token_id = self._find(symbol)
            if token_id is not None:
                ids.append(token_id)
                continue
            for value in symbol.encode():
                byte_id = self._byte_ids[value]
                if byte_id is None:
                    byte_id = self._unk_id
                if byte_id is not None:
                    ids.append(byte_id)
        return ids

    def _wait(self, left: str, right: str) -> float | None:
        token_id = self._find(left + right)
        if token_id is None or self._first <= token_id < self._end:
            return token_id
        return -self._score(token_id)


def _join(left: str, right: str) -> str:
    return left + right
