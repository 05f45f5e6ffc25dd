"""Two texts in one row of tokens, as models that rank pairs read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlr.tokenizer.post_processors import PairSurroundings

__all__ = ["Pair", "join_pair"]


@dataclass(frozen=True, slots=True)
class Pair:
    """The ids of both texts; the second one begins at index `second`."""

    ids: list[int]
    second: int
    length: int  # before anything was cut


def join_pair(
    around: PairSurroundings, first: Sequence[int], second: Sequence[int], longest: int
) -> Pair:
    """Both texts with what belongs around them, in at most `longest` tokens.

    The longer text is cut to the shorter one's length before both are cut, which is what
    `tokenizers` calls "longest_first".
    """
    before, between, after = around
    special = len(before) + len(between) + len(after)
    room = max(longest - special, 0)
    kept, kept_second = len(first), len(second)
    if kept + kept_second > room:
        shorter = min(kept, kept_second)
        lengths = (room // 2, room - room // 2) if 2 * shorter > room else (shorter, room - shorter)
        # Equal lengths: the second text keeps the odd token.
        kept, kept_second = lengths if kept <= kept_second else lengths[::-1]
    start = [*before, *first[:kept], *between]
    ids = [*start, *second[:kept_second], *after]
    return Pair(ids, len(start), special + len(first) + len(second))
