"""The last stage of encoding: tokens that belong around a whole text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["PairSurroundings", "PostProcessor", "Surround"]

PairSurroundings = tuple[list[int], list[int], list[int]]
"""The ids before the first of two texts, between them, and after the second."""


class PostProcessor(Protocol):
    pair: PairSurroundings | None

    def process(self, ids: list[int]) -> list[int]: ...


class Surround:
    """Fixed ids before and after the text: every post-processor comes to this for one text.

    `pair` is what belongs around two texts, where the tokenizer's file says so.
    """

    def __init__(
        self,
        before: Sequence[int],
        after: Sequence[int],
        pair: PairSurroundings | None = None,
    ) -> None:
        self.before = list(before)
        self.after = list(after)
        self.pair = pair

    def process(self, ids: list[int]) -> list[int]:
        return [*self.before, *ids, *self.after]
