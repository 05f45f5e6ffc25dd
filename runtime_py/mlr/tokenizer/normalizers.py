"""The first stage of encoding: a text to the text that the vocabulary was made for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

from mlr.tokenizer.byte_level import encode_bytes
from mlr.tokenizer.patterns import Pattern, class_pattern
from mlr.tokenizer.unicode import WHITESPACE, Ranges, character_set, lower, normalize

__all__ = [
    "BertNormalizer",
    "Normalizer",
    "byte_level",
    "lowercase",
    "nmt",
    "prepend",
    "replace",
    "replace_pattern",
    "sequence",
    "strip",
    "strip_accents",
    "unicode_form",
]

Normalizer = Callable[[str], str]

IDEOGRAPHS: Ranges = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""Chinese characters as BERT's tokenizers know them: each is a word of its own."""


@cache
def _set(name: str) -> Pattern:
    return class_pattern(IDEOGRAPHS if name == "IDEOGRAPHS" else character_set(name))


def sequence(normalizers: Sequence[Normalizer]) -> Normalizer:
    """One after the other."""

    def apply(text: str) -> str:
        for normalizer in normalizers:
            text = normalizer(text)
        return text

    return apply


def unicode_form(form: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> Normalizer:
    return lambda text: normalize(form, text)


def lowercase(text: str) -> str:
    return lower(text)


def prepend(content: str) -> Normalizer:
    """Put `content` before every text that is not empty."""
    return lambda text: content + text if text else text


def replace(old: str, new: str) -> Normalizer:
    return lambda text: text.replace(old, new)


def replace_pattern(pattern: Pattern, new: str) -> Normalizer:
    return lambda text: pattern.sub(new, text)


def strip(left: bool, right: bool) -> Normalizer:
    """Take white space away at the ends."""

    def apply(text: str) -> str:
        if left:
            text = text.lstrip(WHITESPACE)
        return text.rstrip(WHITESPACE) if right else text

    return apply


def strip_accents(text: str) -> str:
    """Take combining marks away; they must stand apart, so a decomposing form comes before."""
    return text if text.isascii() else _set("COMBINING_MARK").sub("", text)


def byte_level(text: str) -> str:
    return encode_bytes(text)


_NMT = {
    **dict.fromkeys([*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F]),
    **dict.fromkeys(
        [
            *(0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD),
            *range(0x200B, 0x2010),
        ],
        " ",
    ),
}


def nmt(text: str) -> str:
    """Control characters away, white space and look-alikes to spaces."""
    return text.translate(_NMT)


class BertNormalizer:
    """What BERT's tokenizers do to a text, each step switched on or off by itself."""

    def __init__(
        self, *, clean_text: bool, ideographs: bool, strip_accents: bool, lowercase: bool
    ) -> None:
        self._clean_text = clean_text
        self._ideographs = ideographs
        self._strip_accents = strip_accents
        self._lowercase = lowercase

    def __call__(self, text: str) -> str:
        if self._clean_text:
            text = _set("BERT_REMOVED").sub("", text)
            text = _set("WHITESPACE").sub(" ", text)
        if not text.isascii():
            if self._ideographs:
                text = "".join(
                    f" {text[start:end]} " if inside else text[start:end]
                    for start, end, inside in spans(_set("IDEOGRAPHS"), text)
                )
            if self._strip_accents:
                text = _set("BERT_MARK").sub("", normalize("NFD", text))
        return lower(text) if self._lowercase else text


def spans(pattern: Pattern, text: str) -> list[tuple[int, int, bool]]:
    """The text cut at a pattern's matches: start, end, and whether it is a match."""
    result: list[tuple[int, int, bool]] = []
    position = 0
    for start, end in pattern.matches(text):
        if position != start:
            result.append((position, start, False))
        result.append((start, end, True))
        position = end
    if position != len(text):
        result.append((position, len(text), False))
    return result
