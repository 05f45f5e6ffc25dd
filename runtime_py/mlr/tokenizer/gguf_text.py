"""What llama.cpp does to texts before WordPiece and Unigram."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache

from mlr.tokenizer.charsmap import Charsmap
from mlr.tokenizer.normalizers import IDEOGRAPHS
from mlr.tokenizer.patterns import Pattern, class_pattern
from mlr.tokenizer.unicode import Ranges, category, character_set, lower, union
from mlr.tokenizer.vocabulary import SPACE

__all__ = ["UnigramNormalizer", "bert_words"]


@cache
def _removed() -> Pattern:
    names = ("Cc", "Cf", "Co")
    sets: list[Ranges] = [category(name) or () for name in names]
    return class_pattern(union(*sets, ((0xFFFD, 0xFFFD),)))


@cache
def _marks() -> Pattern:
    return class_pattern(category("M") or ())


@cache
def _space() -> Pattern:
    return class_pattern(character_set("WHITESPACE"))


@cache
def _alone() -> Pattern:
    """Characters that are words by themselves."""
    ascii_symbols = tuple((ord(c), ord(c)) for c in "$+<=>^`|~")
    return class_pattern(union(category("P") or (), ascii_symbols, IDEOGRAPHS))


def bert_words(text: str, *, lowercase: bool, strip_accents: bool) -> list[str]:
    """The words of a text, each with `▁` in front.

    To strip accents, llama.cpp keeps only the first character of every decomposition. For
    Latin letters that is what BERT does; of a Hangul syllable it leaves the first letter.
    """
    if strip_accents and not text.isascii():
        text = "".join(unicodedata.normalize("NFD", character)[0] for character in text)
    text = _space().sub(" ", text)
    text = _removed().sub("", text)
    if strip_accents:
        text = _marks().sub("", text)
    words: list[str] = []
    for word in text.split(" "):
        position = 0
        for start, end in _alone().matches(word):
            words += word[position:start], word[start:end]
            position = end
        words.append(word[position:])
    change = _lower_each if lowercase else str
    return [SPACE + change(word) for word in words if word]


def _lower_each(text: str) -> str:
    """Lower case where it is one character, as a table of single characters has it."""
    if text.isascii():
        return text.lower()
    return "".join(c if len(lower(c)) != 1 else lower(c) for c in text)


class UnigramNormalizer:
    """Replacements by SentencePiece's table, then spaces to `▁`.

    `add_prefix` puts one `▁` before the first word, `merge_spaces` exactly one before every
    word. The beginnings of user-defined tokens are not replaced.
    """

    def __init__(
        self,
        charsmap: Charsmap | None,
        user_defined: Iterable[str],
        *,
        add_prefix: bool,
        merge_spaces: bool,
    ) -> None:
        self._charsmap = charsmap
        self._beginnings = {
            token[:length] for token in user_defined for length in range(1, len(token) + 1)
        }
        self._add_prefix = add_prefix
        self._merge_spaces = merge_spaces

    def __call__(self, text: str) -> str:
        text = self._replace(text)
        if self._merge_spaces:
            return "".join(SPACE + word for word in text.split(" ") if word)
        if self._add_prefix:
            # The mark goes before the first word, behind spaces that come first.
            word = text.lstrip(" ")
            if word:
                text = text[: len(text) - len(word)] + SPACE + word
        return text.replace(" ", SPACE)

    def _replace(self, text: str) -> str:
        charsmap = self._charsmap
        if charsmap is None:
            return text
        parts: list[str] = []
        position = 0
        while position < len(text):
            kept = self._kept(text, position)
            if kept:
                parts.append(text[position : position + kept])
                position += kept
            else:
                length, replacement = charsmap.longest(text, position)
                parts.append(replacement)
                position += length
        return "".join(parts)

    def _kept(self, text: str, start: int) -> int:
        """How many characters at `start` begin a user-defined token."""
        length = 0
        while text[start : start + length + 1] in self._beginnings and start + length < len(text):
            length += 1
        return length
