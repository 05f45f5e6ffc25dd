"""Guessing the next tokens, so that one pass of the engine can confirm several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

__all__ = ["Speculation", "look_up"]

Speculation = Literal["lookup"]
"""How tokens are guessed: `lookup` finds them where the same words came before."""

LONGEST, SHORTEST = 4, 2  # tokens at the end that must have come before
REACH = 4096  # tokens looked back at most


def look_up(tokens: Sequence[int], count: int) -> list[int]:
    """The at most `count` tokens that followed the last time these tokens came to the same end."""
    recent = list(tokens[-REACH:])
    for size in range(LONGEST, SHORTEST - 1, -1):
        tail = recent[-size:]
        for start in range(len(recent) - size - 1, -1, -1):
            if recent[start] == tail[0] and recent[start : start + size] == tail:
                return recent[start + size : start + size + count]
    return []
