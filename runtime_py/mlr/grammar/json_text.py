"""The parts of JSON as expressions: space, strings, numbers, values of any kind.

Between tokens there may be a space, or a line end with indentation; never without end, so that a
model cannot go on with it for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from mlr.errors import GrammarError
from mlr.grammar.expressions import (
    EMPTY,
    Characters,
    Expression,
    Ranges,
    Reference,
    Repeat,
    choice,
    complement,
    sequence,
    text,
)

__all__ = [
    "COLON",
    "COMMA",
    "DIGIT",
    "DIGITS",
    "PLAIN",
    "SPACE",
    "STRING_CHARACTER",
    "VALUE_RULES",
    "between",
    "characters",
    "encoded_characters",
    "key",
    "literal",
    "spelled",
    "without",
]

MAX_DIGITS = 20
"""Digits before and after the point: more than a double can tell apart."""


def between(low: str, high: str) -> Characters:
    """One character from `low` to `high`."""
    return Characters(((ord(low), ord(high)),))


def characters(those: str) -> Characters:
    """One of these characters."""
    return Characters(tuple((ord(one), ord(one)) for one in sorted(set(those))))


PLAIN: Ranges = complement(((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)))
"""What stands for itself in a string."""

DIGIT = between("0", "9")
DIGITS = Repeat(DIGIT, 1, MAX_DIGITS)
SPACE = choice(
    EMPTY,
    text(" "),
    sequence(text("\n"), choice(Repeat(text(" "), 0, 32), Repeat(text("\t"), 1, 8))),
)
COMMA = sequence(text(","), SPACE)
COLON = sequence(text(":"), Repeat(text(" "), 0, 1))

_HEX = Characters(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)))
_UNICODE_ESCAPE = choice(
    sequence(
        Characters(((0x30, 0x39), (0x41, 0x43), (0x45, 0x46), (0x61, 0x63), (0x65, 0x66))),
        Repeat(_HEX, 3, 3),
    ),
    sequence(characters("dD"), between("0", "7"), Repeat(_HEX, 2, 2)),
    # a pair of surrogates: one character
    sequence(
        characters("dD"),
        characters("89abAB"),
        Repeat(_HEX, 2, 2),
        text("\\u"),
        characters("dD"),
        characters("cdefCDEF"),
        Repeat(_HEX, 2, 2),
    ),
)

STRING_CHARACTER = choice(
    Characters(PLAIN),
    sequence(text("\\"), choice(characters('"\\/bfnrt'), sequence(text("u"), _UNICODE_ESCAPE))),
)
"""One character of a string, in any way that JSON can spell it."""

_WHOLE = choice(text("0"), sequence(between("1", "9"), Repeat(DIGIT, 0, MAX_DIGITS - 1)))
_MINUS = Repeat(text("-"), 0, 1)
_VALUES = ("object", "array", "string", "number", "boolean", "null")

VALUE_RULES: dict[str, Expression] = {
    "value": choice(*map(Reference, _VALUES)),
    "object": sequence(
        text("{"),
        SPACE,
        Repeat(
            sequence(Reference("member"), Repeat(sequence(COMMA, Reference("member")), 0, None)),
            0,
            1,
        ),
        SPACE,
        text("}"),
    ),
    "member": sequence(Reference("string"), COLON, Reference("value")),
    "array": sequence(
        text("["),
        SPACE,
        Repeat(
            sequence(Reference("value"), Repeat(sequence(COMMA, Reference("value")), 0, None)),
            0,
            1,
        ),
        SPACE,
        text("]"),
    ),
    "string": sequence(text('"'), Repeat(STRING_CHARACTER, 0, None), text('"')),
    "character": STRING_CHARACTER,
    "number": sequence(
        _MINUS,
        _WHOLE,
        Repeat(sequence(text("."), DIGITS), 0, 1),
        Repeat(
            sequence(characters("eE"), Repeat(characters("+-"), 0, 1), Repeat(DIGIT, 1, 3)), 0, 1
        ),
    ),
    "integer": sequence(_MINUS, _WHOLE),
    "boolean": choice(text("true"), text("false")),
    "null": text("null"),
}
"""Rules for any JSON value and for values of each type."""


KEY_END, KEY_ESCAPE = "key-end", "key-escape"


def spelled(value: object) -> str:
    """A value in JSON's shortest form."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def literal(value: object, where: str) -> Expression:
    """Exactly this value, in JSON's shortest form. Raises `GrammarError`."""
    try:
        return text(spelled(value))
    except ValueError as error:
        raise GrammarError(f"{where}: a value of enum or const is not JSON: {error}") from None


@lru_cache(maxsize=256)  # automata have the same few sets in every state
def encoded_characters(ranges: Ranges) -> Expression:
    """A character out of a set as a string spells it: itself, or the usual escape."""
    special = [one for one in (*range(0x20), 0x22, 0x5C) if _holds(ranges, one)]
    plain = _intersection(ranges, PLAIN)
    options: list[Expression] = [Characters(plain)] if plain else []
    # Escapes that begin alike share that beginning: \n, \t and so on, \u000…, \u001….
    endings: dict[str, str] = {}
    for one in special:
        escape = spelled(chr(one))[1:-1]
        endings[escape[:-1]] = endings.get(escape[:-1], "") + escape[-1]
    options += [sequence(text(start), characters(last)) for start, last in endings.items()]
    return choice(*options)


def _holds(ranges: Ranges, point: int) -> bool:
    return any(low <= point <= high for low, high in ranges)


def _intersection(one: Ranges, other: Ranges) -> Ranges:
    found = []
    for low, high in one:
        for start, end in other:
            if max(low, start) <= min(high, end):
                found.append((max(low, start), min(high, end)))
    return tuple(sorted(found))


def key(name: str) -> Expression:
    """A member's name and the colon."""
    return sequence(text(spelled(name)), COLON)


def without(names: Sequence[str], rule: str) -> dict[str, Expression]:
    """Rules, of which `rule` is a string that is none of `names`.

    Each character can be spelled in one way only, so that no spelling gets past the names. A rule
    is what may follow after a beginning that some of the names share.
    """
    rules: dict[str, Expression] = {}
    pending = [(rule, [*names])]
    while pending:
        made, endings = pending.pop()
        first: dict[str, list[str]] = {}
        for ending in endings:
            if ending:
                first.setdefault(ending[0], []).append(ending[1:])
        options: list[Expression] = [sequence(_other_than(first), Reference(KEY_END))]
        for one, tails in first.items():
            following = f"{rule}-{len(rules) + len(pending) + 1}"
            pending.append((following, tails))
            options.append(sequence(text(spelled(one)[1:-1]), Reference(following)))
        if "" not in endings:
            options.append(text('"'))
        rules[made] = choice(*options)
    rules[rule] = sequence(text('"'), rules[rule])
    return rules


def _other_than(those: Iterable[str]) -> Expression:
    """One character of a key, none of `those`."""
    points = tuple((ord(one), ord(one)) for one in sorted(those))
    plain = Characters(_intersection(PLAIN, complement(points)))
    if all(_holds(PLAIN, low) for low, _ in points):
        return choice(plain, Reference(KEY_ESCAPE))
    return encoded_characters(complement(points))


VALUE_RULES[KEY_ESCAPE] = encoded_characters(((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)))
VALUE_RULES[KEY_END] = sequence(
    Repeat(choice(Characters(PLAIN), Reference(KEY_ESCAPE)), 0, None), text('"')
)
