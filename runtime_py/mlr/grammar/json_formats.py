"""`format` of JSON Schema: the formats that are held to, as strings without their quotes."""

from __future__ import annotations

from collections.abc import Mapping

from mlr.grammar.expressions import (
    EMPTY,
    Characters,
    Expression,
    Repeat,
    choice,
    normal_ranges,
    sequence,
    text,
)
from mlr.grammar.json_numbers import integers
from mlr.grammar.json_text import DIGIT, between, characters

__all__ = ["FORMATS", "FORMAT_RULES", "SHORT", "SHORT_FORMATS"]

_HEX = Characters(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)))


def _two(low: int, high: int) -> Expression:
    """A number of two digits."""
    return choice(*(text(f"{number:02}") for number in range(low, high + 1)))


def _maybe(expression: Expression) -> Expression:
    return Repeat(expression, 0, 1)


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

_HOURS, _MINUTES, _SECONDS = (sequence(Repeat(DIGIT, 1, 4), text(unit)) for unit in "HMS")
_TIME_OF_DURATION = sequence(
    text("T"),
    choice(
        sequence(_HOURS, _maybe(sequence(_MINUTES, _maybe(_SECONDS)))),
        sequence(_MINUTES, _maybe(_SECONDS)),
        _SECONDS,
    ),
)
_YEARS, _MONTHS, _DAYS = (sequence(Repeat(DIGIT, 1, 3), text(unit)) for unit in "YMD")
_DATE_OF_DURATION = choice(
    sequence(_YEARS, _maybe(sequence(_MONTHS, _maybe(_DAYS)))),
    sequence(_MONTHS, _maybe(_DAYS)),
    _DAYS,
)
_DURATION = sequence(
    text("P"),
    choice(
        sequence(_DATE_OF_DURATION, _maybe(_TIME_OF_DURATION)),
        _TIME_OF_DURATION,
        sequence(Repeat(DIGIT, 1, 4), text("W")),
    ),
)

_BYTE = choice(
    DIGIT,
    sequence(between("1", "9"), DIGIT),
    sequence(text("1"), DIGIT, DIGIT),
    sequence(text("2"), between("0", "4"), DIGIT),
    sequence(text("25"), between("0", "5")),
)
_IPV4 = sequence(_BYTE, Repeat(sequence(text("."), _BYTE), 3, 3))
_GROUP = Repeat(_HEX, 1, 4)
_GROUP_COLON = sequence(_GROUP, text(":"))
_LAST_GROUPS = choice(sequence(_GROUP_COLON, _GROUP), _IPV4)


def _groups(most: int) -> Expression:
    """At most so many groups, with colons between them."""
    return _maybe(sequence(Repeat(_GROUP_COLON, 0, most - 1), _GROUP)) if most else EMPTY


_IPV6 = choice(
    sequence(Repeat(_GROUP_COLON, 6, 6), _LAST_GROUPS),
    *(
        sequence(_groups(5 - after), text("::"), Repeat(_GROUP_COLON, after, after), _LAST_GROUPS)
        for after in range(6)
    ),
    sequence(_groups(6), text("::"), _GROUP),
    sequence(_groups(7), text("::")),
)

_LETTER = Characters(((0x41, 0x5A), (0x61, 0x7A)))
_ALPHANUMERIC = Characters(((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)))


def _label(longest: int | None, first: Expression = _ALPHANUMERIC) -> Expression:
    """A part of a host's name. Two hyphens in a row are left out: they mark encoded names."""
    more = sequence(_maybe(text("-")), _ALPHANUMERIC)
    if longest is None:
        return sequence(first, Repeat(more, 0, None))
    with_hyphens = Repeat(more, 0, (longest - 1) // 2)
    return sequence(first, choice(Repeat(_ALPHANUMERIC, 0, longest - 1), with_hyphens))


def _hostname(limited: bool) -> Expression:
    """The last label begins with a letter, unlike those of an address. Limited, it has at most
    185 characters: of few long labels, or of many short ones."""

    def host(before: int | None, longest: int | None) -> Expression:
        labels = Repeat(sequence(_label(longest), text(".")), 0, before)
        return sequence(labels, _label(longest, _LETTER))

    return choice(host(2, 61), host(10, 15)) if limited else host(None, None)


def _email(limited: bool) -> Expression:
    """Limited, it has at most 254 characters: 63, @ and 190."""
    within = choice(_ALPHANUMERIC, sequence(characters("._+-"), _ALPHANUMERIC))
    local = sequence(_ALPHANUMERIC, Repeat(within, 0, 31 if limited else None))

    def domain(before: int | None, longest: int | None) -> Expression:
        return Repeat(sequence(_label(longest), text(".")), 1, before)

    before = choice(domain(2, 61), domain(10, 15)) if limited else domain(None, None)
    top = Repeat(_LETTER, 2, 30 if limited else None)
    return sequence(local, text("@"), before, top)


def _uri(limited: bool) -> Expression:
    """Of a host or an address of mail. Limited, it has less than 2,083 characters, from which on
    browsers once refused it."""

    def some(one: Expression, most: int) -> Expression:
        return Repeat(one, 0, most if limited else None)

    scheme = sequence(
        between("a", "z"),
        some(Characters(((0x2B, 0x2B), (0x2D, 0x2E), (0x30, 0x39), (0x61, 0x7A))), 15),
    )
    plain = characters("-._~!$&'()*+,;=:@").ranges
    character = choice(
        Characters(normal_ranges([*plain, *_ALPHANUMERIC.ranges])),
        sequence(text("%"), _HEX, _HEX),
    )
    # The many forms of the rarer addresses are left out where states are few.
    numeric = (_IPV4, sequence(text("["), _IPV6, text("]"))) if limited else ()
    host = choice(_hostname(limited), *numeric)
    port = sequence(text(":"), integers(1, 65535) or EMPTY)
    path = sequence(text("/"), some(choice(character, text("/")), 400))
    query = sequence(text("?"), some(choice(character, characters("/?")), 150))
    fragment = sequence(text("#"), some(choice(character, characters("/?")), 30))
    return choice(
        sequence(
            scheme, text("://"), host, _maybe(port), _maybe(path), _maybe(query), _maybe(fragment)
        ),
        sequence(text("mailto:"), _email(limited)),
    )


_FIXED = {
    "date": _DATE,
    "time": _TIME,
    "date-time": sequence(_DATE, text("T"), _TIME),
    "duration": _DURATION,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "uuid": sequence(_hex(8), *(sequence(text("-"), _hex(n)) for n in (4, 4, 4, 12))),
}
# RFC 3339's dates, times (no leap seconds) and durations, RFC 4291's addresses, and UUIDs.
_GROWING = {"email": _email, "hostname": _hostname, "uri": _uri}
# The usual ones of RFC 5321, RFC 1123 and RFC 3986: no quotes, comments, user names, other scripts.

SHORT = 63
"""Characters of a text up to which the parts of a name need no limits of their own."""

FORMATS: Mapping[str, Expression] = {
    **_FIXED,
    **{name: make(True) for name, make in _GROWING.items()},
}
"""A string of each format, without its quotes."""

SHORT_FORMATS: Mapping[str, Expression] = {
    **_FIXED,
    **{name: make(False) for name, make in _GROWING.items()},
}
"""The same for strings of at most `SHORT` characters, in fewer states."""

FORMAT_RULES: Mapping[str, Expression] = {
    f"format-{name}": expression for name, expression in FORMATS.items()
}
