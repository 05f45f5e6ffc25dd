"""The second stage of encoding: a text to the pieces that the model looks at one by one.

A pre-tokenizer takes the pieces that the one before it made. `first` says whether the first of
them stands at the very beginning of the whole text, which some of them treat differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Protocol

from mlr.tokenizer.byte_level import encode_bytes
from mlr.tokenizer.normalizers import spans
from mlr.tokenizer.patterns import Pattern, class_pattern
from mlr.tokenizer.unicode import Ranges, character_set, complement, union

__all__ = [
    "BEHAVIORS",
    "ByteLevel",
    "FixedLength",
    "Metaspace",
    "PreTokenizer",
    "Sequential",
    "Split",
    "WordFunction",
    "bert_pre_tokenizer",
    "digits",
    "gpt2_pattern",
    "punctuation",
    "whitespace",
    "whitespace_split",
]

BEHAVIORS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")


class PreTokenizer(Protocol):
    def split(self, pieces: list[str], first: bool) -> list[str]: ...


class Sequential:
    """One after the other."""

    def __init__(self, pre_tokenizers: Sequence[PreTokenizer]) -> None:
        self._pre_tokenizers = pre_tokenizers

    def split(self, pieces: list[str], first: bool) -> list[str]:
        for pre_tokenizer in self._pre_tokenizers:
            # Pieces only leave the front of the text when something in front was cut away.
            before = pieces[0] if pieces else ""
            pieces = pre_tokenizer.split(pieces, first)
            if first and pieces and isinstance(pre_tokenizer, (Split, Sequential)):
                first = before.startswith(pieces[0])
        return pieces


class Split:
    """Cuts at the matches of a pattern; `behavior` (see BEHAVIORS) says where the matches go."""

    def __init__(self, pattern: Pattern, behavior: str, *, invert: bool = False) -> None:
        self._pattern = pattern
        self._behavior = behavior
        self._invert = invert

    def split(self, pieces: list[str], first: bool) -> list[str]:
        result: list[str] = []
        for piece in pieces:
            whole = self._pattern.pieces(piece) if self._behavior == "Isolated" else None
            result += self._split(piece) if whole is None else filter(None, whole)
        return result

    def _split(self, piece: str) -> list[str]:
        parts = spans(self._pattern, piece)
        if self._invert:
            parts = [(start, end, not inside) for start, end, inside in parts]
        ends = _BEHAVIORS[self._behavior](parts)
        return [piece[start:end] for start, end in ends if start != end]


_Parts = list[tuple[int, int, bool]]
_Ends = list[tuple[int, int]]


def _removed(parts: _Parts) -> _Ends:
    return [(start, end) for start, end, inside in parts if not inside]


def _isolated(parts: _Parts) -> _Ends:
    return [(start, end) for start, end, _ in parts]


def _contiguous(parts: _Parts) -> _Ends:
    ends: _Ends = []
    previous = False
    for start, end, inside in parts:
        if ends and inside == previous:
            ends[-1] = (ends[-1][0], end)
        else:
            ends.append((start, end))
        previous = inside
    return ends


def _merged_with_previous(parts: _Parts) -> _Ends:
    ends: _Ends = []
    previous = False
    for start, end, inside in parts:
        if ends and inside and not previous:
            ends[-1] = (ends[-1][0], end)
        else:
            ends.append((start, end))
        previous = inside
    return ends


def _merged_with_next(parts: _Parts) -> _Ends:
    mirrored = [(-end, -start, inside) for start, end, inside in reversed(parts)]
    return [(-end, -start) for start, end in reversed(_merged_with_previous(mirrored))]


_BEHAVIORS = {
    "Removed": _removed,
    "Isolated": _isolated,
    "Contiguous": _contiguous,
    "MergedWithPrevious": _merged_with_previous,
    "MergedWithNext": _merged_with_next,
}


@cache
def gpt2_pattern() -> Pattern:
    return Pattern(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


class ByteLevel:
    """Pieces in GPT-2's alphabet for bytes, cut by GPT-2's pattern where `use_regex` says so."""

    def __init__(self, *, add_prefix_space: bool, use_regex: bool) -> None:
        self._add_prefix_space = add_prefix_space
        self._split = Split(gpt2_pattern(), "Isolated") if use_regex else None

    def split(self, pieces: list[str], first: bool) -> list[str]:
        if self._add_prefix_space:
            pieces = [piece if piece.startswith(" ") else f" {piece}" for piece in pieces]
        if self._split is not None:
            pieces = self._split.split(pieces, first)
        return [encode_bytes(piece) for piece in pieces]


class Metaspace:
    """Spaces become `replacement`, one is put in front, and every one of them begins a piece.

    `prepend` is "always", "never", or "first" for only the very beginning of the text.
    """

    def __init__(self, replacement: str, prepend: str, *, split: bool) -> None:
        self._replacement = replacement
        self._prepend = prepend
        self._cut = split

    def split(self, pieces: list[str], first: bool) -> list[str]:
        mark = self._replacement
        result: list[str] = []
        for index, piece in enumerate(pieces):
            text = piece.replace(" ", mark)
            wanted = self._prepend == "always" or (
                self._prepend == "first" and first and index == 0
            )
            if wanted and not text.startswith(mark):
                text = mark + text
            if self._cut:
                head, *rest = text.split(mark)
                result += [head] * bool(head)
                result += [mark + part for part in rest]
            else:
                result.append(text)
        return result


class WordFunction:
    """Pieces by a function from text to words."""

    def __init__(self, words: Callable[[str], Iterable[str]]) -> None:
        self._words = words

    def split(self, pieces: list[str], first: bool) -> list[str]:
        return [word for piece in pieces for word in self._words(piece)]


class FixedLength:
    """Pieces of `length` characters, the last one shorter."""

    def __init__(self, length: int) -> None:
        self._length = length

    def split(self, pieces: list[str], first: bool) -> list[str]:
        step = self._length
        return [
            piece[start : start + step] for piece in pieces for start in range(0, len(piece), step)
        ]


def _class_split(ranges: Ranges, behavior: str) -> Split:
    return Split(class_pattern(ranges), behavior)


def whitespace_split() -> Split:
    """Words are what stands between white space."""
    return _class_split(character_set("WHITESPACE"), "Removed")


def whitespace() -> PreTokenizer:
    """Words and runs of other visible characters."""
    space, word = character_set("WHITESPACE"), character_set("WORD")
    other = complement(union(space, word))
    return Sequential(
        [
            whitespace_split(),
            _class_split(other, "Contiguous"),
        ]
    )


def punctuation(behavior: str) -> Split:
    return _class_split(character_set("PUNCTUATION"), behavior)


def bert_pre_tokenizer() -> PreTokenizer:
    """Words between white space, punctuation characters by themselves."""
    return Sequential([whitespace_split(), punctuation("Isolated")])


def digits(*, individual: bool) -> Split:
    """Numbers apart from other text, each digit by itself if `individual`."""
    return _class_split(character_set("NUMERIC"), "Isolated" if individual else "Contiguous")
