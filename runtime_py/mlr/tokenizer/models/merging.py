"""Merging neighbours until nothing merges: the inner loop of byte-pair encoding.

`priority(left, right)` says how soon two neighbouring symbols merge: lower first, `None` never.
Among equals the leftmost pair merges first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import pairwise

__all__ = ["merge"]

Priority = Callable[[str, str], float | None]

_NEVER = float("inf")
_SHORT = 96


def merge(symbols: list[str], priority: Priority, join: Callable[[str, str], str]) -> list[str]:
    """The symbols after all merges; `join` makes the text of two merged symbols."""
    if len(symbols) < 2:
        return symbols
    if len(symbols) <= _SHORT:
        return _merge_short(symbols, priority, join)
    return _merge_long(symbols, priority, join)


def _merge_short(
    symbols: list[str], priority: Priority, join: Callable[[str, str], str]
) -> list[str]:
    """Look for the best pair again after every merge: quadratic, but in C for short words."""
    waits: list[float] = []
    for left, right in pairwise(symbols):
        wait = priority(left, right)
        waits.append(_NEVER if wait is None else wait)
    while waits:
        best = min(waits)
        if best == _NEVER:
            break
        index = waits.index(best)
        merged = join(symbols[index], symbols[index + 1])
        symbols[index : index + 2] = [merged]
        del waits[index]
        if index < len(waits):
            wait = priority(merged, symbols[index + 1])
            waits[index] = _NEVER if wait is None else wait
        if index:
            wait = priority(symbols[index - 1], merged)
            waits[index - 1] = _NEVER if wait is None else wait
    return symbols


def _merge_long(
    symbols: list[str], priority: Priority, join: Callable[[str, str], str]
) -> list[str]:
    """A heap of pairs over a linked list: n log n for long runs without a boundary."""
    size = len(symbols)
    following = list(range(1, size + 1))
    preceding = list(range(-1, size - 1))
    alive: list[str | None] = list(symbols)
    heap: list[tuple[float, int, str, str]] = []
    for index in range(size - 1):
        left, right = symbols[index], symbols[index + 1]
        wait = priority(left, right)
        if wait is not None:
            heap.append((wait, index, left, right))
    heapq.heapify(heap)
    while heap:
        _, index, left, right = heapq.heappop(heap)
        after = following[index]
        # An entry is out of date when either symbol has grown or gone. Symbols only grow, so
        # equal length means the same symbol.
        if alive[index] is None or after >= size:
            continue
        if alive[index] != left or alive[after] != right:
            continue
        merged = join(left, right)
        alive[index] = merged
        alive[after] = None
        beyond = following[index] = following[after]
        if beyond < size:
            preceding[beyond] = index
            neighbour = alive[beyond]
            assert neighbour is not None
            wait = priority(merged, neighbour)
            if wait is not None:
                heapq.heappush(heap, (wait, index, merged, neighbour))
        before = preceding[index]
        if before >= 0:
            neighbour = alive[before]
            assert neighbour is not None
            wait = priority(neighbour, merged)
            if wait is not None:
                heapq.heappush(heap, (wait, before, neighbour, merged))
    return [symbol for symbol in alive if symbol is not None]
