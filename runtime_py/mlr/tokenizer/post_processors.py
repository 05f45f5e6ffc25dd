"""The last stage of encoding: tokens that belong around a whole text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["PostProcessor", "Surround"]


class PostProcessor(Protocol):
    def process(self, ids: list[int]) -> list[int]: ...


class Surround:
    """Fixed ids before and after the text: every post-processor comes to this for one text."""

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        self.before = list(before)
        self.after = list(after)

    def process(self, ids: list[int]) -> list[int]:
        return [*self.before, *ids, *self.after]
