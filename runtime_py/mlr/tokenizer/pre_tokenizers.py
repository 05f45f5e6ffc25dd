from __future__ import annotations

from typing import Protocol

__all__ = ["PreTokenizer"]


class PreTokenizer(Protocol):
    """The third stage: a text to the pieces that the model looks at one by one."""

    def split(self, pieces: list[str], first: bool) -> list[str]: ...
