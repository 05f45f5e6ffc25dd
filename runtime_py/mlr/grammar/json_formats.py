"""`format` of JSON Schema: the formats that are held to, as strings without their quotes."""

from __future__ import annotations

from collections.abc import Mapping

from mlr.grammar.expressions import (
    Characters,
    Expression,
    Reference,
    Repeat,
    choice,
    sequence,
    text,
)
from mlr.grammar.json_text import DIGIT, between, characters

__all__ = ["FORMATS", "FORMAT_RULES"]

_HEX = Characters(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)))


def _two(low: int, high: int) -> Expression:
    """A number of two digits."""
    return choice(*(text(f"{number:02}") for number in range(low, high + 1)))


def _hex(count: int) -> Expression:
    return Repeat(_HEX, count, count)


# Years from 1000 on: those before are hardly meant, and Python has no year 0.
_YEAR = sequence(between("1", "9"), Repeat(DIGIT, 3, 3))
_BY_FOUR = choice(
    sequence(characters("02468"), characters("48")),
    sequence(characters("2468"), text("0")),
    sequence(characters("13579"), characters("26")),
)
_LEAP_YEAR = choice(
    sequence(between("1", "9"), DIGIT, _BY_FOUR),
    # centuries that four divides, from 1200 on
    sequence(
        choice(
            sequence(characters("2468"), characters("048")),
            sequence(characters("13579"), characters("26")),
        ),
        text("00"),
    ),
)
_DATE = choice(
    sequence(
        _YEAR,
        text("-"),
        choice(
            sequence(
                choice(*map(text, ("01", "03", "05", "07", "08", "10", "12"))),
                text("-"),
                _two(1, 31),
            ),
            sequence(choice(*map(text, ("04", "06", "09", "11"))), text("-"), _two(1, 30)),
            sequence(text("02-"), _two(1, 28)),
        ),
    ),
    sequence(_LEAP_YEAR, text("-02-29")),
)
_HOUR, _MINUTE = _two(0, 23), sequence(between("0", "5"), DIGIT)
_TIME = sequence(
    _HOUR,
    text(":"),
    _MINUTE,
    text(":"),
    _MINUTE,
    Repeat(sequence(text("."), Repeat(DIGIT, 1, 6)), 0, 1),
    choice(text("Z"), sequence(characters("+-"), _HOUR, text(":"), _MINUTE)),
)

_FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": sequence(_DATE, text("T"), _TIME),
    "uuid": sequence(_hex(8), *(sequence(text("-"), _hex(n)) for n in (4, 4, 4, 12))),
}
# RFC 3339's dates and times (no leap seconds), and UUIDs.

FORMATS: Mapping[str, Reference] = {name: Reference(f"format-{name}") for name in _FORMATS}
"""A string of each format, without its quotes, in terms of `FORMAT_RULES`."""

FORMAT_RULES: Mapping[str, Expression] = {
    f"format-{name}": expression for name, expression in _FORMATS.items()
}
