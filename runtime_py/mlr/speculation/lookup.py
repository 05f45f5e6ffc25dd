"""Guessing from what is there: text that repeats itself goes on as it did before."""

from __future__ import annotations

from collections.abc import Sequence

from mlr.speculation.guesser import Moment
from mlr.speculation.pace import Pace, Round

__all__ = ["LookUp", "look_up"]

LONGEST, SHORTEST = 4, 2  # tokens at the end that must have come before
REACH = 4096  # tokens looked back at most


class LookUp:
    """The `Guesser` of one generation that looks its guesses up."""

    def __init__(self) -> None:
        self._pace = Pace()  # of this text: another may repeat itself more
        self._round: Round | None = None

    def guess(self, moment: Moment) -> list[int]:
        """Tokens that followed the last time, as many as are worth it."""
        self._round = self._pace.begin(moment.price, moment.most)
        if self._round is None:
            return []
        found, size = look_up(moment.tokens, moment.most)
        for _ in found:
            self._round.made(size / (LONGEST + 1))
        return found[: self._round.keep()]

    def learn(self, right: int, *, wrong: bool) -> None:
        """Note how the last guesses went."""
        if self._round is not None:
            self._round.learn(right, wrong=wrong)


def look_up(tokens: Sequence[int], count: int) -> tuple[list[int], int]:
    """The at most `count` tokens that followed the last time these tokens came to the same end,
    and of how many tokens that end is."""
    recent = list(tokens[-REACH:])
    for size in range(LONGEST, SHORTEST - 1, -1):
        tail = recent[-size:]
        for start in range(len(recent) - size - 1, -1, -1):
            if recent[start] == tail[0] and recent[start : start + size] == tail:
                return recent[start + size : start + size + count], size
    return [], 0
