"""Grammars in GBNF, the notation of llama.cpp.

    root   ::= "yes" | "no" | number
    number ::= "-"? [0-9]{1,9}   # a comment

Rules have names of letters, digits and hyphens; `root` is where a text begins. An expression is
made of texts in quotes, classes in brackets, `.` for any character, groups in parentheses, names
of rules, alternatives, and the repetitions `?`, `*`, `+`, `{n}`, `{n,}` and `{m,n}`. A rule ends
with its line, unless the line ends within a group or after `|` or `::=`.
"""

from __future__ import annotations

import re

from mlr.errors import GrammarError
from mlr.grammar.expressions import (
    ANY_CHARACTER,
    LAST_CODE_POINT,
    Characters,
    Expression,
    Grammar,
    Reference,
    Repeat,
    choice,
    complement,
    normal_ranges,
    sequence,
    text,
)

__all__ = ["parse_gbnf"]

MAX_SIZE = 256 << 10  # characters
MAX_NESTING = 64  # groups within groups; as many repetitions may be of a repetition
MAX_REPEATS = 1_000_000
SURROGATES = range(0xD800, 0xE000)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SPACE = re.compile(r"(?:[ \t]|#[^\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_COUNTS = re.compile(r"\{[ \t]*([0-9]*)[ \t]*(,?)[ \t]*([0-9]*)[ \t]*\}")
_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {"n": 10, "r": 13, "t": 9, "\\": 92, '"': 34, "[": 91, "]": 93, "-": 45, "^": 94}


def parse_gbnf(source: str) -> Grammar:
    """The grammar that `source` describes. Raises `GrammarError`, naming line and column."""
    if len(source) > MAX_SIZE:
        raise GrammarError(
            f"the grammar has {len(source)} characters, more than the limit {MAX_SIZE}"
        )
    return _Parser(source).parse()


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._depth = 0
        self._repeated_repeats = 0
        self._used: dict[str, int] = {}  # rules, and where each is first used

    def parse(self) -> Grammar:
        rules: dict[str, Expression] = {}
        self._skip(_SPACE_AND_LINES)
        while self._at < len(self._source):
            start = self._at
            name = self._name()
            if name in rules:
                raise self._problem(f"the rule {name!r} is there twice", start)
            self._skip(_SPACE)
            if not self._source.startswith("::=", self._at):
                raise self._problem("expected ::= after the name of a rule")
            self._at += 3
            self._skip(_SPACE_AND_LINES)
            rules[name] = self._alternatives(_SPACE)
            if self._at < len(self._source) and self._source[self._at] not in "\r\n":
                raise self._problem(f"unexpected {self._source[self._at]!r}")
            self._skip(_SPACE_AND_LINES)
        for name, place in self._used.items():
            if name not in rules:
                raise self._problem(f"there is no rule {name!r}", place)
        if "root" not in rules:
            raise GrammarError("the grammar has no rule 'root', which is where a text begins")
        return Grammar(rules)

    def _problem(self, what: str, at: int | None = None) -> GrammarError:
        before = self._source[: self._at if at is None else at]
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        return GrammarError(f"grammar, line {line}, column {column}: {what}")

    def _skip(self, space: re.Pattern[str]) -> None:
        match = space.match(self._source, self._at)
        assert match is not None  # it matches the empty text too
        self._at = match.end()

    def _name(self) -> str:
        match = _NAME.match(self._source, self._at)
        if match is None:
            raise self._problem("expected the name of a rule")
        self._at = match.end()
        return match[0]

    def _alternatives(self, space: re.Pattern[str]) -> Expression:
        options = [self._sequence(space)]
        while self._source.startswith("|", self._at):
            self._at += 1
            self._skip(_SPACE_AND_LINES)
            options.append(self._sequence(space))
        return choice(*options)

    def _sequence(self, space: re.Pattern[str]) -> Expression:
        parts: list[Expression] = []
        while True:
            item = self._item()
            if item is None:
                return sequence(*parts)
            self._skip(space)
            start = self._at
            while (counts := self._counts()) is not None:
                self._repeated_repeats += isinstance(item, Repeat)
                if self._repeated_repeats > MAX_NESTING:
                    raise self._problem(f"over {MAX_NESTING} repetitions of repetitions", start)
                item = Repeat(item, *counts)
                self._skip(space)
            parts.append(item)

    def _item(self) -> Expression | None:
        """The next text, class, group or name; None at the end of a sequence."""
        character = self._source[self._at : self._at + 1]
        if character == '"':
            return self._text()
        if character == "[":
            return self._class()
        if character == ".":
            self._at += 1
            return ANY_CHARACTER
        if character == "(":
            return self._group()
        if character in ("<", "!"):
            raise self._problem("tokens in a grammar (<…>) are not supported; write their text")
        match = _NAME.match(self._source, self._at)
        if match is None:
            return None
        self._used.setdefault(match[0], self._at)
        self._at = match.end()
        return Reference(match[0])

    def _group(self) -> Expression:
        start = self._at
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._problem(f"groups are nested over {MAX_NESTING} deep")
        self._at += 1
        self._skip(_SPACE_AND_LINES)
        inner = self._alternatives(_SPACE_AND_LINES)
        if not self._source.startswith(")", self._at):
            raise self._problem("this group is not closed", start)
        self._at += 1
        self._depth -= 1
        return inner

    def _counts(self) -> tuple[int, int | None] | None:
        character = self._source[self._at : self._at + 1]
        simple = {"?": (0, 1), "*": (0, None), "+": (1, None)}
        if character in simple:
            self._at += 1
            return simple[character]
        if character != "{":
            return None
        match = _COUNTS.match(self._source, self._at)
        if match is None or not match[1]:
            raise self._problem("expected {n}, {n,} or {m,n}")
        least = self._count(match[1])
        most: int | None = least
        if match[2]:
            most = self._count(match[3]) if match[3] else None
        elif match[3]:
            raise self._problem("expected {n}, {n,} or {m,n}")
        if most is not None and most < least:
            raise self._problem(f"a repetition of at least {least} and at most {most}")
        self._at = match.end()
        return least, most

    def _count(self, digits: str) -> int:
        if len(digits) > 7 or int(digits) > MAX_REPEATS:
            raise self._problem(f"a repetition of more than {MAX_REPEATS}")
        return int(digits)

    def _text(self) -> Expression:
        start = self._at
        self._at += 1
        characters = []
        while not self._source.startswith('"', self._at):
            if self._source[self._at : self._at + 1] in ("", "\n"):
                raise self._problem("this text is not closed", start)
            characters.append(chr(self._character()))
        self._at += 1
        return text("".join(characters))

    def _class(self) -> Expression:
        start = self._at
        self._at += 1
        negated = self._source.startswith("^", self._at)
        self._at += negated
        ranges = []
        while not self._source.startswith("]", self._at):
            if self._source[self._at : self._at + 1] in ("", "\n"):
                raise self._problem("this class is not closed", start)
            low = high = self._character()
            if self._source.startswith("-", self._at) and self._source[
                self._at + 1 : self._at + 2
            ] not in ("]", ""):
                self._at += 1
                high = self._character()
                if high < low:
                    raise self._problem("a range that runs backwards")
            ranges.append((low, high))
        self._at += 1
        whole = normal_ranges(ranges)
        if negated:
            whole = complement(whole)
        if not whole:
            raise self._problem("no character is in this class", start)
        return Characters(whole)

    def _character(self) -> int:
        """One character, or an escape of one: its code point."""
        start = self._at
        character = self._source[self._at]
        self._at += 1
        if character != "\\":
            if ord(character) in SURROGATES:
                raise self._problem("half of a surrogate pair", start)
            return ord(character)
        escape = self._source[self._at : self._at + 1]
        self._at += 1
        if escape in _ESCAPES and escape:
            return _ESCAPES[escape]
        if escape in _HEX and escape:
            digits = self._source[self._at : self._at + _HEX[escape]]
            if re.fullmatch(r"[0-9A-Fa-f]+", digits) and len(digits) == _HEX[escape]:
                self._at += len(digits)
                point = int(digits, 16)
                if point <= LAST_CODE_POINT and point not in SURROGATES:
                    return point
            raise self._problem(f"\\{escape} needs {_HEX[escape]} digits of a character", start)
        raise self._problem(f"unknown escape \\{escape}", start)
