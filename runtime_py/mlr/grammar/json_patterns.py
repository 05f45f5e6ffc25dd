"""`pattern` of JSON Schema: regular expressions of ECMAScript, as far as they are regular.

They may look ahead at the beginning, right after ^: `^(?=.*[0-9])(?!admin).*$`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlr.errors import GrammarError
from mlr.grammar.expressions import (
    ANY_CHARACTER,
    EMPTY,
    LAST_CODE_POINT,
    Characters,
    Expression,
    Ranges,
    Repeat,
    choice,
    complement,
    normal_ranges,
    sequence,
)

__all__ = ["Pattern", "parse_pattern"]

MAX_SIZE = 4096  # characters
MAX_NESTING = 32
MAX_REPEATS = 100_000

_DIGIT: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_UNICODE_SPACES = "\xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"
_SPACE = normal_ranges(
    [(9, 13), (32, 32), (0x2000, 0x200A), *((ord(one), ord(one)) for one in _UNICODE_SPACES)]
)
_LINE_ENDS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_SETS = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0}
_NUMBER = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}")
_COUNTS = re.compile(r"\{([0-9]{1,7})(,?)([0-9]{0,7})\}")
_GROUP = re.compile(r"\?(:|<[A-Za-z_][A-Za-z0-9_]*>)")
_ANYTHING = Repeat(ANY_CHARACTER, 0, None)


@dataclass(frozen=True, slots=True)
class Pattern:
    """The strings that a pattern matches: those of `strings` that are of each of `wanted`, too,
    and of none of `unwanted`."""

    strings: Expression
    wanted: tuple[Expression, ...] = ()
    unwanted: tuple[Expression, ...] = ()


def parse_pattern(pattern: str) -> Pattern:
    """The strings, as characters, that hold a match of `pattern`.

    As in JSON Schema, a pattern may match anywhere in the string unless it begins with ^ and
    ends with $. Raises `GrammarError` for what is not supported.
    """
    if len(pattern) > MAX_SIZE:
        raise GrammarError(
            f"a pattern has {len(pattern)} characters, more than the limit {MAX_SIZE}"
        )
    return _Parser(pattern).parse()


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0
        self._looking_ahead = False

    def parse(self) -> Pattern:
        options = [self._anchored()]
        while self._next("|"):
            options.append(self._anchored())
        if self._at < len(self._pattern):
            raise self._problem("a bracket closes nothing")
        if len(options) == 1:
            return options[0]
        if any(option.wanted or option.unwanted for option in options):
            raise self._problem("looking ahead in one of several alternatives")
        return Pattern(choice(*(option.strings for option in options)))

    def _problem(self, what: str) -> GrammarError:
        return GrammarError(
            f"the pattern {self._pattern!r} is not supported at character {self._at + 1}: {what}"
        )

    def _next(self, text: str) -> bool:
        """Take `text` if it comes next."""
        found = self._pattern.startswith(text, self._at)
        if found:
            self._at += len(text)
        return found

    def _anchored(self) -> Pattern:
        """One alternative of the whole pattern, with ^ and $ where they may be."""
        if not self._next("^"):
            return Pattern(sequence(_ANYTHING, self._to_the_end()))
        wanted: list[Expression] = []
        unwanted: list[Expression] = []
        while self._pattern.startswith(("(?=", "(?!"), self._at):
            self._at += 3
            kind = wanted if self._pattern[self._at - 1] == "=" else unwanted
            kind.append(self._ahead())
        return Pattern(self._to_the_end(), tuple(wanted), tuple(unwanted))

    def _to_the_end(self) -> Expression:
        middle = self._sequence()
        return sequence(middle, EMPTY if self._next("$") else _ANYTHING)

    def _ahead(self) -> Expression:
        """What a look ahead from the beginning matches, with what may come after that."""
        self._looking_ahead = True
        options: list[Expression] = []
        while not options or self._next("|"):
            self._next("^")  # it is there anyway
            options.append(self._to_the_end())
        if not self._next(")"):
            raise self._problem("a group is not closed")
        self._looking_ahead = False
        return choice(*options)

    def _sequence(self) -> Expression:
        parts: list[Expression] = []
        while (item := self._item()) is not None:
            counts = self._counts()
            parts.append(item if counts is None else Repeat(item, *counts))
        return sequence(*parts)

    def _item(self) -> Expression | None:
        character = self._pattern[self._at : self._at + 1]
        if character in ("", "|", ")"):
            return None
        if character == "$":
            ends = ("|", ")") if self._looking_ahead else ("|", "")
            if self._pattern[self._at + 1 : self._at + 2] in ends and self._depth == 0:
                return None
            raise self._problem("$ other than at the end")
        if character == "^":
            raise self._problem("^ other than at the beginning")
        if character in "*+?{":
            raise self._problem("a repetition of nothing")
        if character == "(":
            return self._group()
        self._at += 1
        if character == "[":
            return self._one_of(self._class())
        if character == ".":
            return self._one_of(complement(_LINE_ENDS))
        if character == "\\":
            return self._one_of(self._escape(in_class=False))
        return self._one_of(((ord(character), ord(character)),))

    def _one_of(self, ranges: Ranges) -> Expression:
        ranges = normal_ranges(list(ranges))
        if not ranges:
            raise self._problem("no character is in this set")
        return Characters(ranges)

    def _group(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._problem(f"groups are nested over {MAX_NESTING} deep")
        self._at += 1
        if self._pattern.startswith("?", self._at):
            match = _GROUP.match(self._pattern, self._at)
            if match is None:
                raise self._problem("looking ahead or behind, or another special group")
            self._at = match.end()
        options = [self._sequence()]
        while self._next("|"):
            options.append(self._sequence())
        if not self._next(")"):
            raise self._problem("a group is not closed")
        self._depth -= 1
        return choice(*options)

    def _counts(self) -> tuple[int, int | None] | None:
        counts: tuple[int, int | None]
        if self._next("*"):
            counts = (0, None)
        elif self._next("+"):
            counts = (1, None)
        elif self._next("?"):
            counts = (0, 1)
        elif self._pattern.startswith("{", self._at):
            counts = self._braces()
        else:
            return None
        self._next("?")  # lazy: another order of trying, the same texts
        if self._pattern[self._at : self._at + 1] in ("*", "+", "?", "{"):
            raise self._problem("a repetition of a repetition")
        return counts

    def _braces(self) -> tuple[int, int | None]:
        match = _COUNTS.match(self._pattern, self._at)
        if match is None or (match[3] and not match[2]):
            raise self._problem("expected {n}, {n,} or {m,n}")
        least = int(match[1])
        most = int(match[3]) if match[3] else None if match[2] else least
        if max(least, most or 0) > MAX_REPEATS or (most is not None and most < least):
            raise self._problem("the numbers of a repetition")
        self._at = match.end()
        return least, most

    def _class(self) -> Ranges:
        negated = self._next("^")
        ranges: list[tuple[int, int]] = []
        while not self._next("]"):
            low = self._member()
            after = self._pattern[self._at + 1 : self._at + 2]
            if self._pattern.startswith("-", self._at) and after not in ("]", ""):
                self._at += 1
                high = self._member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1]:
                    raise self._problem("a range between sets")
                if high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise self._problem("a range that runs backwards")
                ranges.append((low[0][0], high[0][0]))
            else:
                ranges += low
        whole = normal_ranges(ranges)
        return complement(whole) if negated else whole

    def _member(self) -> Ranges:
        """One character or one escape in a class."""
        if self._at >= len(self._pattern):
            raise self._problem("a class is not closed")
        character = self._pattern[self._at]
        self._at += 1
        if character == "\\":
            return self._escape(in_class=True)
        return ((ord(character), ord(character)),)

    def _escape(self, *, in_class: bool) -> Ranges:
        character = self._pattern[self._at : self._at + 1]
        if character.lower() in _SETS and character:
            self._at += 1
            ranges = _SETS[character.lower()]
            return complement(ranges) if character.isupper() else ranges
        match = _NUMBER.match(self._pattern, self._at)
        if match is not None:
            point = int(match[1] or match[2] or match[3], 16)
            if point > LAST_CODE_POINT:
                raise self._problem("a character's number")
            self._at = match.end()
        elif character in _CONTROLS and character:
            self._at += 1
            point = _CONTROLS[character]
        elif character == "b" and in_class:
            self._at += 1
            point = 8
        elif not character or character.isalnum():
            raise self._problem(f"the escape \\{character}")
        else:
            self._at += 1
            point = ord(character)
        return ((point, point),)
