"""WordPiece: the longest token that begins a word, then the longest that goes on, and so on."""

from __future__ import annotations

from collections.abc import Iterable

from mlr.tokenizer.models.cache import WordCache
from mlr.tokenizer.vocabulary import Vocabulary

__all__ = ["WordPiece"]


class WordPiece:
    """Words that cannot be put together from tokens, or are longer than `max_characters`, become
    the unknown token. Tokens that go on in a word are spelled with `prefix` in front."""

    def __init__(
        self, vocabulary: Vocabulary, unk_id: int, prefix: str, max_characters: int | None
    ) -> None:
        self._find = vocabulary.find
        self._unknown = [unk_id]
        self._prefix = prefix
        self._max_characters = max_characters
        self._longest = max(map(len, vocabulary.texts()), default=0)
        self._cache = WordCache(self._encode_word)

    def encode(self, pieces: Iterable[str]) -> list[int]:
        return self._cache.encode(pieces)

    def _encode_word(self, word: str) -> list[int]:
        size = len(word)
        if self._max_characters is not None and size > self._max_characters:
            return self._unknown
        ids: list[int] = []
        start = 0
        while start < size:
            prefix = self._prefix if start else ""
            for end in range(min(size, start + self._longest), start, -1):
                token_id = self._find(prefix + word[start:end])
                if token_id is not None:
                    ids.append(token_id)
                    start = end
                    break
            else:
                return self._unknown
        return ids
