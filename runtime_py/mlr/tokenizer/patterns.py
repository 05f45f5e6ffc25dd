"""Regular expressions of tokenizer files, run on Python's `re`.

Tokenizer files hold patterns for Oniguruma, with Unicode properties (`\\p{L}`) that `re` lacks.
They are parsed here and written again for `re`, with every class of characters spelled out as
ranges. Three versions are made when first needed: for text in ASCII, for text in the Basic
Multilingual Plane, and for any text. The first two are small and let `re` use its bitmaps, so
a text pays only for the characters that it can hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mlr.errors import TokenizerError
from mlr.tokenizer.unicode import (
    LAST,
    Ranges,
    category,
    character_set,
    complement,
    intersection,
    script,
    union,
)

__all__ = ["MAX_PATTERN_LENGTH", "Pattern", "class_pattern"]

MAX_PATTERN_LENGTH = 16_384

_ASCII = 0x7F
_BMP = 0xFFFF


class Pattern:
    """A pattern in Oniguruma's syntax. TokenizerError for what is not supported in it."""

    def __init__(self, source: str) -> None:
        self._parts = _Parser(source).parse()
        self._source = source
        self._compiled: dict[int, re.Pattern[str]] = {}
        self._for(_ASCII)  # so that a mistake in the pattern shows now

    def matches(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of every match. No empty match directly after a match, as Oniguruma."""
        last = -1
        for match in self._for_text(text).finditer(text):
            start, end = match.span()
            if start != end or start != last:
                yield start, end
            last = end

    def pieces(self, text: str) -> list[str] | None:
        """The matches when they cover the whole text and so are all of its pieces, else None."""
        found: list[str] = self._for_text(text).findall(text)
        return found if sum(map(len, found)) == len(text) else None

    def sub(self, replacement: str, text: str) -> str:
        """The text with every match replaced by exactly `replacement`."""
        parts: list[str] = []
        position = 0
        for start, end in self.matches(text):
            parts += text[position:start], replacement
            position = end
        parts.append(text[position:])
        return "".join(parts)

    def search(self, text: str) -> bool:
        return self._for_text(text).search(text) is not None

    def _for_text(self, text: str) -> re.Pattern[str]:
        if text.isascii():
            return self._for(_ASCII)
        return self._for(_BMP if max(text) <= "\uffff" else LAST)

    def _for(self, last: int) -> re.Pattern[str]:
        compiled = self._compiled.get(last)
        if compiled is None:
            text = "".join(
                part if isinstance(part, str) else _write_class(part, last) for part in self._parts
            )
            try:
                compiled = re.compile(text)
            except (re.error, RecursionError, OverflowError) as error:
                raise TokenizerError(
                    f"the pattern {self._source!r} is not a regular expression: {error}"
                ) from None
            self._compiled[last] = compiled
        return compiled


def class_pattern(ranges: Ranges) -> Pattern:
    """A pattern that matches one character of the set."""
    pattern = Pattern.__new__(Pattern)
    pattern._parts = [ranges]
    pattern._source = "a set of characters"
    pattern._compiled = {}
    return pattern


def _write_class(ranges: Ranges, last: int) -> str:
    """The set as a class for `re`, for texts with no character above `last`."""
    inside = tuple((low, min(high, last)) for low, high in ranges if low <= last)
    outside = complement(ranges, last)
    if not inside:
        return r"[^\s\S]"
    if not outside:
        return r"[\s\S]"
    negated = len(outside) < len(inside)
    return (
        ("[^" if negated else "[")
        + "".join(
            _write_character(low)
            if low == high
            else f"{_write_character(low)}-{_write_character(high)}"
            for low, high in (outside if negated else inside)
        )
        + "]"
    )


def _write_character(point: int) -> str:
    return f"\\U{point:08x}"


# Oniguruma counts these (²³¹¼½¾) as word characters in `\\w`, but not in `[\\w]`.
_LATIN1_NUMBERS: Ranges = ((0xB2, 0xB3), (0xB9, 0xB9), (0xBC, 0xBE))


def _shorthand(letter: str, in_class: bool) -> Ranges | None:
    """The set that an escape like `\\s` stands for."""
    if letter == "s":
        return character_set("WHITESPACE")
    if letter == "d":
        return category("Nd")
    if letter == "w":
        word = character_set("REGEX_WORD")
        return intersection(word, complement(_LATIN1_NUMBERS)) if in_class else word
    return ((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)) if letter == "h" else None


_CONTROL = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "a": 7, "e": 27, "0": 0}
_QUANTIFIER = re.compile(r"\{\d*,?\d*\}")
_PROPERTY = re.compile(r"\{(\^?)(\w+)\}|([A-Z])", re.ASCII)
_GROUP = re.compile(r"\?(?::|=|!|<=|<!|>|[imx]*(?:-[imx]*)?[:)]|<\w+>)", re.ASCII)


class _Parser:
    """Reads a pattern into pieces: text that `re` reads the same way, and sets of characters."""

    def __init__(self, source: str) -> None:
        if len(source) > MAX_PATTERN_LENGTH:
            raise TokenizerError(
                f"a pattern has {len(source)} characters, more than the limit {MAX_PATTERN_LENGTH}"
            )
        self._source = source
        self._position = 0
        self._out: list[str | Ranges] = []
        # For every open group: how many brackets its end closes, and where it begins in `_out`.
        self._open = [[0, 0]]
        self._last = 0  # where the item that a quantifier applies to begins in `_out`

    def parse(self) -> list[str | Ranges]:
        while self._position < len(self._source):
            self._item()
        if len(self._open) != 1:
            raise self._problem("a group is not closed")
        self._out.append(")" * self._open[0][0])
        return self._out

    def _problem(self, what: str) -> TokenizerError:
        return TokenizerError(
            f"the pattern {self._source!r} is not supported at character {self._position}: {what}"
        )

    def _item(self) -> None:
        source, out = self._source, self._out
        character = source[self._position]
        if character not in "*+?{":
            self._last = len(out)
        if character == "\\":
            self._escape_outside()
            return
        if character == "[":
            self._position += 1
            out.append(self._class())
            return
        if character == "(":
            self._group()
            return
        self._position += 1
        if character == ")":
            if len(self._open) == 1:
                raise self._problem("a bracket closes nothing")
            options, self._last = self._open.pop()
            out.append(")" * (options + 1))
        elif character == "^":
            out.append(r"(?<![^\n])")
        elif character == "$":
            out.append(r"(?=\n|\Z)")
        elif character == ".":
            out.append(complement(((10, 10),)))
        elif character == "{":
            self._braces()
        elif character in "}]":
            out.append("\\" + character)
        elif character in "|*+?":
            out.append(character)
        else:
            out.append(re.escape(character))

    def _braces(self) -> None:
        """A quantifier like {1,3}, or a brace that stands for itself."""
        match = _QUANTIFIER.match(self._source, self._position - 1)
        if match is None or match[0] in ("{}", "{,}"):
            self._last = len(self._out)
            self._out.append(r"\{")
            return
        self._position = match.end()
        self._out.append(match[0])
        if self._source.startswith("+", self._position):
            # To Oniguruma this is a quantifier of what came before, to `re` it is possessive.
            self._out.insert(self._last, "(?:")
            self._out.append(")")

    def _begin(self, text: str) -> None:
        self._open.append([0, len(self._out)])
        self._out.append(text)

    def _group(self) -> None:
        source, out = self._source, self._out
        self._position += 1
        if not source.startswith("?", self._position):
            self._begin("(?:")
            return
        match = _GROUP.match(source, self._position)
        if match is None:
            raise self._problem("an unknown kind of group")
        self._position = match.end()
        kind = match[0]
        if kind in ("?:", "?=", "?!", "?<=", "?<!", "?>", "?i:", "?-i:"):
            self._begin("(" + kind)
        elif kind[1] == "<":
            self._begin("(?:")
        elif kind in ("?i)", "?-i)"):
            # The option holds to the end of the group around it, alternatives included.
            out.append("(" + kind[:-1] + ":")
            self._open[-1][0] += 1
        else:
            raise self._problem(f"the option ({kind}")

    def _escape_outside(self) -> None:
        start = self._position
        character = self._source[start + 1 : start + 2]
        anchors = {"A": r"\A", "z": r"\Z", "Z": r"(?=\n?\Z)"}
        if character in anchors:
            self._out.append(anchors[character])
            self._position += 2
        elif character in ("b", "B"):
            word = character_set("REGEX_WORD")
            # \b: exactly one side is a word character. \B: both or neither.
            same, other = ("(?!", "(?=") if character == "b" else ("(?=", "(?!")
            self._out += [
                "(?:(?<=",
                word,
                ")" + same,
                word,
                ")|(?<!",
                word,
                ")" + other,
                word,
                "))",
            ]
            self._position += 2
        else:
            found = self._escape()
            if isinstance(found, int):
                self._out.append(re.escape(chr(found)))
            else:
                self._out.append(found)

    def _escape(self, *, in_class: bool = False) -> Ranges | int:
        """One escape: a set of characters, or the code point of a character."""
        self._position += 1
        if self._position >= len(self._source):
            raise self._problem("it ends in a backslash")
        character = self._source[self._position]
        self._position += 1
        if character in "pP":
            return self._property(character == "P")
        ranges = _shorthand(character.lower(), in_class)
        if ranges is not None:
            return complement(ranges) if character.isupper() else ranges
        if character in _CONTROL:
            return _CONTROL[character]
        if character in "xu":
            return self._number(character)
        if character.isalnum():
            raise self._problem(f"the escape \\{character}")
        return ord(character)

    def _number(self, kind: str) -> int:
        form = r"\{([0-9A-Fa-f]{1,8})\}|([0-9A-Fa-f]{2})" if kind == "x" else r"()([0-9A-Fa-f]{4})"
        match = re.compile(form).match(self._source, self._position)
        point = int(match[1] or match[2], 16) if match else LAST + 1
        if match is None or point > LAST:
            raise self._problem("a character number")
        self._position = match.end()
        return point

    def _property(self, negated: bool) -> Ranges:
        match = _PROPERTY.match(self._source, self._position)
        if match is None:
            raise self._problem("a property without a name")
        name = match[2] or match[3]
        ranges = category(name) or script(name)
        if ranges is None:
            raise self._problem(f"the property {name!r}")
        self._position = match.end()
        return complement(ranges) if negated != bool(match[1]) else ranges

    def _class(self, depth: int = 0) -> Ranges:
        """The set that a class in square brackets stands for; the first bracket is behind us."""
        source = self._source
        if depth > 8:
            raise self._problem("classes nested too deep")
        negated = source.startswith("^", self._position)
        self._position += negated
        whole: Ranges | None = None
        parts: list[Ranges] = []
        first = True
        while True:
            if self._position >= len(source):
                raise self._problem("a class is not closed")
            character = source[self._position]
            if character == "]" and not first:
                self._position += 1
                break
            first = False
            if source.startswith("&&", self._position):
                self._position += 2
                whole = union(*parts) if whole is None else intersection(whole, union(*parts))
                parts = []
            elif source.startswith("[:", self._position):
                raise self._problem("a POSIX bracket")
            elif character == "[":
                self._position += 1
                parts.append(self._class(depth + 1))
            else:
                parts.append(self._range())
        ranges = union(*parts)
        if whole is not None:
            ranges = intersection(whole, ranges)
        return complement(ranges) if negated else ranges

    def _range(self) -> Ranges:
        """One character, one escape, or one range in a class."""
        source = self._source
        low = self._class_atom()
        if not isinstance(low, int):
            return low
        after = source[self._position + 1 : self._position + 2]
        if source.startswith("-", self._position) and after not in ("]", "["):
            self._position += 1
            high = self._class_atom()
            if not isinstance(high, int):
                # As in [+-\s]: the hyphen stands for itself.
                return union(((low, low),), ((0x2D, 0x2D),), high)
            if high < low:
                raise self._problem("a range that runs backwards")
            return ((low, high),)
        return ((low, low),)

    def _class_atom(self) -> Ranges | int:
        if self._position >= len(self._source):
            raise self._problem("a class is not closed")
        if self._source[self._position] == "\\":
            if self._source.startswith("\\b", self._position):
                self._position += 2
                return 8
            return self._escape(in_class=True)
        self._position += 1
        return ord(self._source[self._position - 1])
