"""Character properties that are the same on every host.

Python's own `unicodedata` follows the Python version: 14.0 in CPython 3.11, 16.0 in Pyodide. A
prompt must become the same tokens everywhere, so the properties come from `unicode_tables`,
which hold what Hugging Face's `tokenizers` uses (Unicode 16.0 in its regular expressions, older
versions in places). Normal forms and lower case do come from Python, which can be trusted for
every character that its version knows; the few characters on which `tokenizers` differs, or
Python 3.11 does not know, are listed here.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Literal

from mlr.tokenizer import unicode_tables

__all__ = [
    "WHITESPACE",
    "Ranges",
    "category",
    "character_set",
    "complement",
    "intersection",
    "lower",
    "normalize",
    "script",
    "union",
]

Ranges = tuple[tuple[int, int], ...]
"""A set of characters: code points from the first to the second, in order, not touching."""

LAST = 0x10FFFF

WHITESPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space. `str.isspace` also counts U+001C to U+001F, which tokenizers do not."""


def _numbers(packed: str) -> list[int]:
    import base64
    import zlib

    numbers: list[int] = []
    value = shift = 0
    for byte in zlib.decompress(base64.b85decode(packed)):
        value |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            numbers.append(value)
            value = shift = 0
    return numbers


@cache
def _categories() -> dict[str, Ranges]:
    numbers = _numbers(unicode_tables.CATEGORIES)
    names = unicode_tables.CATEGORY_NAMES.split()
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
    position = 0
    for index, length in zip(numbers[::2], numbers[1::2], strict=True):
        found[names[index]].append((position, position + length - 1))
        position += length
    return {name: tuple(ranges) for name, ranges in found.items()}


@cache
def category(name: str) -> Ranges | None:
    """The characters of a general category ("Lu") or a group of them ("L"); None if unknown."""
    if name == "LC":
        name = "Lu|Ll|Lt"
    members = [
        ranges
        for short, ranges in _categories().items()
        if any(short.startswith(part) for part in name.split("|"))
    ]
    return union(*members) if name and members else None


@cache
def character_set(name: str) -> Ranges:
    """A set from `unicode_tables.SETS`, or "WHITESPACE"."""
    if name == "WHITESPACE":
        return union(*(((ord(c), ord(c)),) for c in WHITESPACE))
    numbers = _numbers(unicode_tables.SETS[name])
    ranges: list[tuple[int, int]] = []
    position = 0
    for distance, more in zip(numbers[::2], numbers[1::2], strict=True):
        ranges.append((position + distance, position + distance + more))
        position += distance + more
    return tuple(ranges)


def script(name: str) -> Ranges | None:
    """The characters of a script, of those that pre-tokenizers use; None if unknown."""
    key = f"SCRIPT_{name.upper()}"
    return character_set(key) if key in unicode_tables.SETS else None


def union(*sets: Ranges) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(part for ranges in sets for part in ranges):
        if merged and low <= merged[-1][1] + 1:
            if high > merged[-1][1]:
                merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return tuple(merged)


def complement(ranges: Ranges, last: int = LAST) -> Ranges:
    """Every character up to `last` that is not in the set."""
    result: list[tuple[int, int]] = []
    position = 0
    for low, high in ranges:
        if low > last:
            break
        if low > position:
            result.append((position, low - 1))
        position = high + 1
    if position <= last:
        result.append((position, last))
    return tuple(result)


def intersection(first: Ranges, second: Ranges) -> Ranges:
    return complement(union(complement(first), complement(second)))


# Characters whose decompositions are newer than the tables of the normalizers in `tokenizers`,
# which leave them alone.
_KEPT = (
    "\u32ff\ua7f2-\ua7f4\uab69\U000105c9\U000105e4\U00010781-\U00010785\U00010787-\U000107b0"
    "\U000107b2-\U000107ba\U00011383\U00011385\U0001138e\U00011391\U000113c5\U000113c7\U000113c8"
    "\U00011938\U00016121-\U00016128\U00016d68-\U00016d6a\U0001ccd6-\U0001ccf9\U0001e030-\U0001e06d"
    "\U0001f16c\U0001fbf0-\U0001fbf9"
)


@cache
def _kept() -> re.Pattern[str]:
    return re.compile(f"([{_KEPT}])")


def normalize(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    """The Unicode normal form of `text`."""
    if text.isascii():
        return text
    if form == "NFC" or not _kept().search(text):
        return unicodedata.normalize(form, text)
    parts = _kept().split(text)
    parts[::2] = [unicodedata.normalize(form, part) for part in parts[::2]]
    return "".join(parts)


# Lower case of letters that came after Unicode 14.0.
_LOWER = {
    0x03A3: 0x03C3,  # Σ: str.lower makes it ς at the end of a word, tokenizers do not
    0x1C89: 0x1C8A,
    0xA7CB: 0x0264,
    0xA7CC: 0xA7CD,
    0xA7CE: 0xA7CF,
    0xA7D2: 0xA7D3,
    0xA7D4: 0xA7D5,
    0xA7DA: 0xA7DB,
    0xA7DC: 0x019B,
    **{letter: letter + 0x20 for letter in range(0x10D50, 0x10D66)},
    **{letter: letter + 0x1B for letter in range(0x16EA0, 0x16EB9)},
}


def lower(text: str) -> str:
    """Every character in lower case, whatever stands around it."""
    return text.lower() if text.isascii() else text.translate(_LOWER).lower()
