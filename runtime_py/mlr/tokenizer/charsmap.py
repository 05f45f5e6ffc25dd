"""SentencePiece's table of replacements ("precompiled charsmap"), as its files hold it.

Four bytes with the size of a double-array trie, the trie (units of four bytes, little-endian),
then the replacements, each ended by a NUL. The trie maps a text in UTF-8 to the offset of its
replacement.
"""

from __future__ import annotations

import re
from array import array
from functools import cache
from sys import byteorder

from mlr.errors import TokenizerError
from mlr.tokenizer.unicode import Ranges, category, complement, intersection, union

__all__ = ["MAX_SIZE", "Charsmap"]

MAX_SIZE = 16 << 20
"""Bytes; the largest published table has about 240 kB."""

_LONGEST_CLUSTER = 6
_LONGEST_ENTRY = 64
_CACHE_SIZE = 65_536


class Charsmap:
    """Replaces parts of texts by the table. TokenizerError when the table is damaged."""

    def __init__(self, data: bytes, where: str) -> None:
        if not 8 <= len(data) <= MAX_SIZE:
            raise TokenizerError(
                f"{where}: {len(data)} bytes; a table of replacements has 8 to {MAX_SIZE}"
            )
        size = int.from_bytes(data[:4], "little")
        if size % 4 or not 4 <= size <= len(data) - 4:
            raise TokenizerError(f"{where}: the trie has {size} bytes of {len(data)}")
        self._units = array("I", data[4 : 4 + size])
        if byteorder == "big":
            self._units.byteswap()
        self._texts = data[4 + size :]
        if not self._texts.endswith(b"\0"):
            raise TokenizerError(f"{where}: the last replacement does not end")
        self._where = where
        self._known: dict[str, str | None] = {}
        self._pairs: dict[str, tuple[tuple[int, str], bool]] = {}

    def _walk(self, text: bytes) -> tuple[list[tuple[int, str]], bool]:
        """Length and replacement of every entry that `text` begins with, shortest first; and
        whether all of `text` is the beginning of an entry."""
        units = self._units
        found: list[tuple[int, str]] = []
        node = _offset(units[0])
        for index, byte in enumerate(text):
            node ^= byte
            unit = units[node] if byte and node < len(units) else 0
            if not byte or unit & 0x800000FF != byte:
                return found, False
            node ^= _offset(unit)
            if unit >> 8 & 1 and node < len(units):
                found.append((index + 1, self._replacement(units[node] & 0x7FFFFFFF)))
        return found, True

    def _replacement(self, start: int) -> str:
        end = self._texts.find(b"\0", start)
        if end < 0:
            raise TokenizerError(f"{self._where}: a replacement lies outside of the table")
        return self._texts[start:end].decode("utf-8", "replace")

    def by_cluster(self, text: str) -> str:
        """The rule of Hugging Face's `tokenizers`: a grapheme cluster of fewer than six bytes is
        replaced whole by its shortest entry; other text goes character by character."""
        return "".join(map(self._cluster, clusters(text)))

    def _cluster(self, cluster: str) -> str:
        if len(cluster) > 1 and len(cluster.encode()) < _LONGEST_CLUSTER:
            replaced = self._shortest(cluster)
            if replaced is not None:
                return replaced
        parts: list[str] = []
        for character in cluster:
            replaced = self._shortest(character)
            parts.append(character if replaced is None else replaced)
        return "".join(parts)

    def _shortest(self, text: str) -> str | None:
        if text not in self._known:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            found, _ = self._walk(text.encode())
            self._known[text] = found[0][1] if found else None
        return self._known[text]

    def longest(self, text: str, start: int) -> tuple[int, str]:
        """The rule of SentencePiece: the longest entry that the text goes on with at `start`.

        How many characters it has, and the replacement; one character as it is when there is
        no entry.
        """
        pair = text[start : start + 2]
        known = self._pairs.get(pair)
        if known is None:
            if len(self._pairs) >= _CACHE_SIZE:
                self._pairs.clear()
            known = self._pairs[pair] = self._longest(pair)
        best, goes_on = known
        return self._longest(text[start : start + _LONGEST_ENTRY])[0] if goes_on else best

    def _longest(self, text: str) -> tuple[tuple[int, str], bool]:
        """The longest entry that begins `text`, and whether a longer text might have another."""
        data = text.encode()
        found, goes_on = self._walk(data)
        best = (1, text[0])
        for length, replacement in found:
            try:
                best = (len(data[:length].decode()), replacement)
            except UnicodeDecodeError:
                continue  # an entry that ends inside a character matches no text
        return best, goes_on


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 0x200) >> 6)


_PREPENDED: Ranges = (
    *((0x600, 0x605), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2)),
    *((0xD4E, 0xD4E), (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x111C2, 0x111C3)),
)
_JOINERS: Ranges = ((0x200C, 0x200D),)
_TAGS: Ranges = ((0xE0020, 0xE007F),)
_EXTENDING: Ranges = ((0xE33, 0xE33), (0xEB3, 0xEB3), (0xFF9E, 0xFF9F), (0x1F3FB, 0x1F3FF))
_STANDING_MARKS: Ranges = (
    *((0x102B, 0x102C), (0x1038, 0x1038), (0x1062, 0x1064), (0x1067, 0x106D)),
    *((0x1083, 0x1083), (0x1087, 0x108C), (0x108F, 0x108F), (0x109A, 0x109C)),
    *((0x1A61, 0x1A61), (0x1A63, 0x1A64), (0xAA7B, 0xAA7B), (0xAA7D, 0xAA7D), (0x11720, 0x11721)),
)


def clusters(text: str) -> list[str]:
    """The text cut into grapheme clusters, as far as clusters under six bytes tell.

    Longer clusters (flags, Hangul built from letters, emoji sequences) may come in several
    parts: they are too long to be replaced whole.
    """
    return list(text) if text.isascii() and "\r" not in text else _clusters().findall(text)


@cache
def _clusters() -> re.Pattern[str]:
    def write(ranges: Ranges) -> str:
        return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)

    formats = complement(union(_PREPENDED, _JOINERS, _TAGS))
    control = union(
        *(category(name) or () for name in ("Cc", "Zl", "Zp")),
        intersection(category("Cf") or (), formats),
    )
    extending = intersection(
        union(category("M") or (), _EXTENDING, _JOINERS, _TAGS), complement(_STANDING_MARKS)
    )
    return re.compile(
        f"\r\n|[{write(control)}]|[{write(_PREPENDED)}]*[^{write(control)}][{write(extending)}]*"
    )
