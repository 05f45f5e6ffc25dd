"""Numbers within bounds, digit by digit."""

from __future__ import annotations

from mlr.grammar.expressions import Expression, Repeat, choice, sequence, text
from mlr.grammar.json_text import DIGIT, MAX_DIGITS, between

__all__ = ["MAX_BOUND", "integers", "numbers"]

MAX_BOUND = 10**18

_NONZERO_FRACTION = sequence(
    text("."), Repeat(text("0"), 0, MAX_DIGITS - 1), between("1", "9"), Repeat(DIGIT, 0, MAX_DIGITS)
)
_FRACTION = sequence(text("."), Repeat(DIGIT, 1, MAX_DIGITS))
_ZERO_FRACTION = sequence(text("."), Repeat(text("0"), 1, MAX_DIGITS))


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


def numbers(
    low: int | None, high: int | None, *, above_low: bool = False, below_high: bool = False
) -> Expression | None:
    """The numbers from `low` to `high`, without the bounds themselves where it is said so."""
    options: list[Expression] = []
    positive = _decimals(low, high, above_low, below_high)
    if positive is not None:
        options.append(positive)
    if low is None or low < 0:
        negative = _decimals(
            None if high is None else -high, None if low is None else -low, below_high, above_low
        )
        if negative is not None:
            options.append(sequence(text("-"), negative))
    return choice(*options) if options else None


def _decimals(
    low: int | None, high: int | None, above_low: bool, below_high: bool
) -> Expression | None:
    """The numbers from `low` to `high` that are not below zero."""
    if low is None or low < 0:
        low, above_low = 0, False
    options: list[Expression] = []
    # A whole part between the bounds may have any fraction.
    inner = _whole(low + above_low, None if high is None else high - 1)
    if inner is not None:
        options.append(sequence(inner, Repeat(_FRACTION, 0, 1)))
    if above_low and (high is None or low < high):
        options.append(sequence(text(str(low)), _NONZERO_FRACTION))
    if high is not None and not below_high and high >= low + above_low:
        options.append(sequence(text(str(high)), Repeat(_ZERO_FRACTION, 0, 1)))
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
