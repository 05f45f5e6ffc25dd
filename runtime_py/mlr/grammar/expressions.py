"""What a grammar is made of, whichever notation it was written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "ANY_CHARACTER",
    "EMPTY",
    "LAST_CODE_POINT",
    "Characters",
    "Choice",
    "Expression",
    "Grammar",
    "Ranges",
    "Reference",
    "Repeat",
    "Sequence",
    "Text",
    "choice",
    "complement",
    "normal_ranges",
    "sequence",
    "text",
]

LAST_CODE_POINT = 0x10FFFF
SURROGATES = (0xD800, 0xDFFF)  # no text has them: UTF-8 cannot

Ranges = tuple[tuple[int, int], ...]
"""Code points, both ends included; sorted, without overlaps, neighbours joined."""


@dataclass(frozen=True, slots=True)
class Text:
    """These bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Characters:
    """One character out of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; none at all is the empty text."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Any one of several."""

    options: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """At least `least` and at most `most` times; `most` None is without end."""

    body: Expression
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Reference:
    """Whatever the rule of that name is."""

    rule: str


Expression = Text | Characters | Sequence | Choice | Repeat | Reference


@dataclass(frozen=True, slots=True)
class Grammar:
    """Named rules, and the one that a whole text has to follow."""

    rules: Mapping[str, Expression]
    root: str = "root"


def text(value: str) -> Expression:
    """Exactly this text."""
    return Text(value.encode())


def sequence(*parts: Expression) -> Expression:
    """The parts in a row."""
    return parts[0] if len(parts) == 1 else Sequence(parts)


def choice(*options: Expression) -> Expression:
    """One of the options."""
    return options[0] if len(options) == 1 else Choice(options)


def normal_ranges(ranges: list[tuple[int, int]]) -> Ranges:
    """Any ranges in the form that `Ranges` asks for, surrogates left out."""
    whole: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if whole and low <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(high, whole[-1][1]))
        else:
            whole.append((low, high))
    first, last = SURROGATES
    below = [(low, min(high, first - 1)) for low, high in whole if low < first]
    above = [(max(low, last + 1), high) for low, high in whole if high > last]
    return tuple(below + above)


def complement(ranges: Ranges) -> Ranges:
    """Every other character."""
    outside: list[tuple[int, int]] = []
    start = 0
    for low, high in ranges:
        if low > start:
            outside.append((start, low - 1))
        start = high + 1
    if start <= LAST_CODE_POINT:
        outside.append((start, LAST_CODE_POINT))
    return normal_ranges(outside)


EMPTY = Sequence(())
ANY_CHARACTER = Characters(complement(()))
