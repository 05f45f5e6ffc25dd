"""Numbers of JSON Schema: whole ones and others within bounds, digit by digit, and multiples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mlr.errors import GrammarError
from mlr.grammar.expressions import EMPTY, Expression, Repeat, choice, sequence, text
from mlr.grammar.json_text import DIGIT, MAX_DIGITS, between
from mlr.grammar.languages import Naming, Rules, language, multiples

__all__ = ["integer_values", "integers", "number_values", "numbers"]

MAX_BOUND = 10**18
MAX_EXACT = 10**15
"""Below it a double tells any two whole numbers apart, and what is between them."""


def integer_values(schema: Mapping[str, Any], where: str, name: Naming) -> tuple[Rules, Expression]:
    """Rules, and the whole numbers that a schema allows in terms of them. Raises `GrammarError`."""
    low, high = _whole_bounds(schema, where)
    rules: Rules = {}
    found = integers(low, high)
    if found is not None and "multipleOf" in schema:
        rules, found = _multiples(_divisor(schema, where), low, high, where, name)
    if found is None:
        raise GrammarError(f"{where}: no whole number is within its bounds")
    return rules, found


def number_values(schema: Mapping[str, Any], where: str, name: Naming) -> tuple[Rules, Expression]:
    """Rules, and the numbers that a schema allows in terms of them. Raises `GrammarError`.

    Who reads a number rounds it to a double, so that a bound that is itself outside gives way to
    the next double.
    """
    if "multipleOf" in schema:
        return integer_values(schema, where, name)
    bounds = _bounds(schema, where)
    low, above = bounds["minimum"], bounds["exclusiveMinimum"]
    high, below = bounds["maximum"], bounds["exclusiveMaximum"]
    least = [low] if low is not None else []
    least += [_next(above, math.inf)] if above is not None else []
    most = [high] if high is not None else []
    most += [_next(below, -math.inf)] if below is not None else []
    found = numbers(max(least, default=None), min(most, default=None))
    if found is None:
        raise GrammarError(f"{where}: no number is within its bounds")
    return {}, found


def _whole_bounds(schema: Mapping[str, Any], where: str) -> tuple[int | None, int | None]:
    """The least and the greatest whole number."""
    bounds = _bounds(schema, where)
    low, above = bounds["minimum"], bounds["exclusiveMinimum"]
    high, below = bounds["maximum"], bounds["exclusiveMaximum"]
    least = [math.ceil(low)] if low is not None else []
    least += [math.floor(above) + 1] if above is not None else []
    most = [math.floor(high)] if high is not None else []
    most += [math.ceil(below) - 1] if below is not None else []
    return max(least, default=None), min(most, default=None)


def _divisor(schema: Mapping[str, Any], where: str) -> int:
    value = schema["multipleOf"]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= MAX_BOUND or value != int(value):
        raise GrammarError(
            f"{where}.multipleOf must be a whole number above 0: of others the multiples cannot "
            "be told, since readers round them"
        )
    return int(value)


def _multiples(
    divisor: int, low: int | None, high: int | None, where: str, name: Naming
) -> tuple[Rules, Expression | None]:
    """The multiples from `low` to `high`: the zeros at the end, and what is before them."""
    zeros = 0
    while divisor % 10 == 0:
        divisor, zeros = divisor // 10, zeros + 1
    with_zero = (low is None or low <= 0) and (high is None or high >= 0)
    options: list[Expression] = [text("0")] if with_zero else []
    before = integers(
        None if low is None else -(-low // 10**zeros), None if high is None else high // 10**zeros
    )
    rules: Rules = {}
    if before is not None:
        try:
            found = language(before).both(multiples(divisor)).both(language(text("0")).others())
        except GrammarError:
            raise GrammarError(
                f"{where}.multipleOf is too large beside these bounds; without bounds it can be "
                "about 90 times a power of ten"
            ) from None
        if not found.empty:
            rules, inner = found.rules(name("multiple"))
            options.append(sequence(inner, text("0" * zeros)))
    return rules, choice(*options) if options else None


def _bounds(schema: Mapping[str, Any], where: str) -> dict[str, Decimal | None]:
    values: dict[str, Decimal | None] = {}
    for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        value = schema.get(name)
        if value is None and name not in schema:
            values[name] = None
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise GrammarError(f"{where}.{name} must be a number")
        if value != value or abs(value) > MAX_BOUND:
            raise GrammarError(f"{where}.{name} must be a number of at most {MAX_BOUND:.0e}")
        values[name] = Decimal(repr(value))
    return values


def _next(value: Decimal, towards: float) -> Decimal:
    return Decimal(repr(math.nextafter(float(value), towards)))


def integers(low: int | None, high: int | None) -> Expression | None:
    """The whole numbers from `low` to `high`, None being without bound; None if there are none."""
    options: list[Expression] = []
    positive = _whole(max(low or 0, 0), high)
    if positive is not None:
        options.append(positive)
    negative = _whole(max(-high, 1) if high is not None else 1, None if low is None else -low)
    if negative is not None:
        options.append(sequence(text("-"), negative))
    return choice(*options) if options else None


def numbers(low: Decimal | None, high: Decimal | None) -> Expression | None:
    """The numbers from `low` to `high`, of at most `MAX_DIGITS` digits behind the point."""
    options: list[Expression] = []
    positive = _decimals(max(low or Decimal(), Decimal()), high)
    if positive is not None:
        options.append(positive)
    if low is None or low < 0:
        negative = _decimals(
            Decimal() if high is None else max(-high, Decimal()), None if low is None else -low
        )
        if negative is not None:
            options.append(sequence(text("-"), negative))
    return choice(*options) if options else None


def _decimals(low: Decimal, high: Decimal | None) -> Expression | None:
    """The numbers from `low`, at least 0, to `high`."""
    if high is not None and high < low:
        return None
    first, more = _parts(low)
    digits = MAX_DIGITS if (high or low) < MAX_EXACT else 0
    if high is None:
        last, less = None, None
    else:
        last, less = _parts(high)
    options = [_with_fraction(first, _fraction(more, less if last == first else None, digits))]
    if last != first:
        # A whole part between those of the bounds may have any fraction.
        inner = _whole(first + 1, None if last is None else last - 1)
        if inner is not None:
            options.append(sequence(inner, _fraction("", None, digits) or EMPTY))
        if last is not None:
            options.append(_with_fraction(last, _fraction("", less, digits)))
    found = [option for option in options if option is not None]
    return choice(*found) if found else None


def _parts(value: Decimal) -> tuple[int, str]:
    """The whole part, and the digits behind the point without zeros at the end."""
    whole, _, fraction = f"{value:f}".partition(".")
    return int(whole), fraction.rstrip("0")


def _with_fraction(whole: int, fraction: Expression | None) -> Expression | None:
    return None if fraction is None else sequence(text(str(whole)), fraction)


def _fraction(low: str, high: str | None, digits: int) -> Expression | None:
    """The point and what follows it, or nothing where that is between the bounds, too.

    Bounds are digits behind the point; `high` None is no bound.
    """
    options: list[Expression] = [] if low else [EMPTY]
    behind = _digits(low or None, high, digits, least=1)
    if behind is not None:
        options.append(sequence(text("."), behind))
    return choice(*options) if options else None


def _digits(low: str | None, high: str | None, most: int, least: int) -> Expression | None:
    """`least` (0 or 1) to `most` digits behind a point that are between the bounds.

    None is no bound. The bounds have no zeros at the end.
    """
    if low == "":
        low = None
    if low is None and high is None:
        return Repeat(DIGIT, least, most) if most >= least else None
    if high == "":
        zeros = Repeat(text("0"), least, most)
        return zeros if low is None and most >= least else None
    options: list[Expression] = [EMPTY] if least == 0 and low is None else []
    start, end = int(low[0]) if low else 0, int(high[0]) if high else 9
    if most > 0 and start <= end:
        # A digit between those of the bounds may be followed by any.
        edges: list[tuple[int, str | None, str | None]] = []
        if low and high and start == end:
            edges = [(start, low[1:], high[1:])]
        else:
            edges += [(start, low[1:], None)] if low else []
            edges += [(end, None, high[1:])] if high else []
        for digit, under, over in edges:
            more = _digits(under, over, most - 1, 0)
            if more is not None:
                options.append(sequence(text(str(digit)), more))
        first = start + 1 if low else start
        last = end - 1 if high else end
        if first <= last:
            options.append(sequence(between(str(first), str(last)), Repeat(DIGIT, 0, most - 1)))
    return choice(*options) if options else None


def _whole(low: int, high: int | None) -> Expression | None:
    """The whole numbers from `low`, at least 0, to `high`."""
    if high is not None and high < low:
        return None
    options: list[Expression] = []
    length = len(str(low))
    while length <= (MAX_DIGITS if high is None else len(str(high))):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        last = 10**length - 1 if high is None else min(high, 10**length - 1)
        if high is None and first == 10 ** (length - 1):  # and all that are longer
            more = Repeat(DIGIT, length - 1, MAX_DIGITS - 1)
            options.append(sequence(between("1", "9"), more))
            break
        options.append(_same_length(str(first), str(last)))
        length += 1
    return choice(*options)


def _same_length(low: str, high: str) -> Expression:
    """The digits from `low` to `high`, which are equally many."""
    if set(low) <= {"0"} and set(high) <= {"9"}:
        return Repeat(DIGIT, len(low), len(low))
    if low[0] == high[0]:
        return sequence(text(low[0]), _same_length(low[1:], high[1:]))
    more = len(low) - 1
    start, end = ord(low[0]), ord(high[0])
    options: list[Expression] = []
    if low[1:] != "0" * more:
        options.append(sequence(text(low[0]), _same_length(low[1:], "9" * more)))
        start += 1
    if high[1:] != "9" * more:
        options.append(sequence(text(high[0]), _same_length("0" * more, high[1:])))
        end -= 1
    if start <= end:
        options.append(sequence(between(chr(start), chr(end)), Repeat(DIGIT, more, more)))
    return choice(*options)
