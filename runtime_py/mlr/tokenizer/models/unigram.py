"""Unigram: of all ways to put a text together from tokens, the one of the highest total score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlr.errors import TokenizerError
from mlr.tokenizer.models.cache import WordCache
from mlr.tokenizer.vocabulary import Vocabulary

__all__ = ["Unigram", "UnigramOptions"]

_UNKNOWN_PENALTY = 10.0


@dataclass(frozen=True)
class UnigramOptions:
    """`byte_ids[b]` is the token for byte b: with it, unknown text becomes bytes.

    `look_up_unknown` also looks a run of unknown characters up as a whole, as `tokenizers` does.
    """

    unk_id: int | None
    min_score: float
    byte_ids: Sequence[int | None] | None = None
    look_up_unknown: bool = True


class Unigram:
    """The best path through a text, found from left to right (Viterbi).

    `scores` has a number for every token that may be used; sums are in double precision and in
    text order, so that ties fall as they do in the implementations that this one follows.
    """

    def __init__(
        self, vocabulary: Vocabulary, scores: dict[str, float], options: UnigramOptions
    ) -> None:
        self._find = vocabulary.find
        self._scores = scores
        self._options = options
        self._lengths: dict[str, tuple[int, ...]] | None = None
        self._cache = WordCache(self._encode_word)

    def encode(self, pieces: Iterable[str]) -> list[int]:
        return self._cache.encode(pieces)

    def _by_start(self) -> dict[str, tuple[int, ...]]:
        """The lengths of the tokens that begin with two given characters, shortest first."""
        if self._lengths is None:
            found: dict[str, set[int]] = {}
            for token in self._scores:
                if len(token) > 1:
                    found.setdefault(token[:2], set()).add(len(token))
            self._lengths = {start: tuple(sorted(lengths)) for start, lengths in found.items()}
        return self._lengths

    def _encode_word(self, word: str) -> list[int]:
        ids: list[int] = []
        unk_id = self._options.unk_id
        for text, known in self._best_path(word):
            token_id = self._find(text) if known else None
            if token_id is None and self._options.look_up_unknown:
                token_id = self._find(text)
            if token_id is not None:
                ids.append(token_id)
                continue
            values = self._bytes(text)
            if values is not None:
                ids += values
            elif unk_id is not None:
                ids.append(unk_id)
            else:
                raise TokenizerError(
                    f"the text {text[:20]!r} is not in the vocabulary, and the tokenizer has no "
                    "unknown token"
                )
        return ids

    def _bytes(self, text: str) -> list[int] | None:
        byte_ids = self._options.byte_ids
        if byte_ids is None:
            return None
        values = [byte_ids[value] for value in text.encode()]
        return None if None in values else [value for value in values if value is not None]

    def _best_path(self, word: str) -> list[tuple[str, bool]]:
        """The pieces of the best path, and whether each is a token; unknown runs are joined."""
        size = len(word)
        scores, by_start = self._scores, self._by_start()
        unknown_score = self._options.min_score - _UNKNOWN_PENALTY
        best: list[float | None] = [None] * (size + 1)
        begins = [0] * (size + 1)
        known = [True] * (size + 1)
        best[0] = 0.0
        for start in range(size):
            so_far = best[start]
            assert so_far is not None  # every character is at least unknown
            score = scores.get(word[start])
            is_token = score is not None
            total = so_far + (unknown_score if score is None else score)
            end = start + 1
            champion = best[end]
            if champion is None or total > champion:
                best[end], begins[end], known[end] = total, start, is_token
            for length in by_start.get(word[start : start + 2], ()):
                end = start + length
                if end > size:
                    break
                score = scores.get(word[start:end])
                if score is not None:
                    total = so_far + score
                    champion = best[end]
                    if champion is None or total > champion:
                        best[end], begins[end], known[end] = total, start, True
        path: list[tuple[str, bool]] = []
        end = size
        while end > 0:
            start = begins[end]
            text = word[start:end]
            # The text of the unknown token itself counts as unknown.
            is_known = known[end] and self._find(text) != self._options.unk_id
            if path and not is_known and not path[-1][1]:
                path[-1] = (text + path[-1][0], False)
            else:
                path.append((text, is_known))
            end = start
        path.reverse()
        return path
