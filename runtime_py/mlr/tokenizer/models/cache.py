"""Remembering the tokens of words: most of a text is words that came before."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["WordCache"]

MAX_WORDS = 32_768
MAX_LENGTH = 64
"""Characters; longer words seldom come twice."""


class WordCache:
    """Ids of words, computed once each. It is emptied when it is full, so its size is bounded."""

    def __init__(self, encode_word: Callable[[str], list[int]]) -> None:
        self._encode_word = encode_word
        self._known: dict[str, list[int]] = {}

    def encode(self, words: Iterable[str]) -> list[int]:
        ids: list[int] = []
        known = self._known
        for word in words:
            found = known.get(word)
            if found is None:
                found = self._encode_word(word)
                if len(word) <= MAX_LENGTH:
                    if len(known) >= MAX_WORDS:
                        known.clear()
                    known[word] = found
            ids += found
        return ids
