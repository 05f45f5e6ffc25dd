"""Sets of characters as sequences of byte ranges, the way UTF-8 spells them."""

from __future__ import annotations

from collections.abc import Iterator

from mlr.grammar.expressions import Ranges

__all__ = ["ByteRange", "byte_sequences"]

ByteRange = tuple[int, int]

_LAST_OF_LENGTH = (0x7F, 0x7FF, 0xFFFF, 0x10FFFF)


def byte_sequences(ranges: Ranges) -> Iterator[tuple[ByteRange, ...]]:
    """Sequences of byte ranges that together match exactly the characters' encodings.

    Each sequence is 1 to 4 ranges long: every byte out of its range, in any combination.
    """
    pending = list(reversed(ranges))
    while pending:
        low, high = pending.pop()
        edge = _first_edge(low, high)
        if edge < high:
            pending.append((edge + 1, high))
            pending.append((low, edge))
        else:
            yield tuple(zip(chr(low).encode(), chr(high).encode(), strict=True))


def _first_edge(low: int, high: int) -> int:
    """The end of the first part of a range whose bytes are independent of each other."""
    for last in _LAST_OF_LENGTH:
        if low <= last < high:
            return last
    if high <= 0x7F:
        return high
    # A range is one sequence when its low end has only 80 and its high end only BF after the
    # first byte in which they differ.
    for count in (1, 2, 3):
        mask = (1 << 6 * count) - 1
        if low & ~mask == high & ~mask:
            break
        if low & mask:
            return low | mask
        if high & mask != mask:
            return (high & ~mask) - 1
    return high
