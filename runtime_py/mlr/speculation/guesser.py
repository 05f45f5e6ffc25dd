"""What a scheduler asks of whoever guesses the next tokens of a generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from mlr.speculation.pace import Price

__all__ = ["Guesser", "Moment", "Speculation"]

Speculation = Literal["draft", "lookup"]
"""How tokens are guessed: a `draft` model says them first, where there is one; `lookup` finds them
where the same words came before."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a generation is when it wants to know what may come next."""

    sequence: int
    tokens: list[int]  # the prompt and what has been chosen; context shifting has cut it
    chosen: int  # how many tokens have been chosen
    left: int  # how many may still be
    most: int  # how many guesses there is room for, at least 1
    price: Price


class Guesser(Protocol):
    """Guesses for one generation, so that one pass of the engine can confirm several tokens."""

    def guess(self, moment: Moment) -> list[int]:
        """Tokens that may come next: at most `moment.most`, and none where they would not pay."""
        ...

    def learn(self, right: int, *, wrong: bool) -> None:
        """Of the last guesses the first so many were right, and the next one, maybe, wrong."""
        ...
