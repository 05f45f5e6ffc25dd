"""Checked access to the JSON objects of a tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.errors import TokenizerError

__all__ = ["MAX_NESTING", "Fields"]

MAX_NESTING = 16
"""How deep sequences of components may be nested."""

_MISSING: Any = object()


class Fields:
    """One object and where it stands in the file. TokenizerError for a field of a wrong type."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise TokenizerError(f"{where}: expected an object, found {type(value).__name__}")
        self.value = value
        self.where = where

    @property
    def kind(self) -> str:
        return self.text("type")

    def problem(self, what: str) -> TokenizerError:
        return TokenizerError(f"{self.where}: {what}")

    def text(self, name: str, default: str = _MISSING) -> str:
        value: str = self._typed(name, str, "text", default)
        return value

    def flag(self, name: str, default: bool = _MISSING) -> bool:
        value: bool = self._typed(name, bool, "true or false", default)
        return value

    def count(self, name: str, default: int = _MISSING) -> int:
        """A whole number from 0 on."""
        value: int = self._typed(name, int, "a whole number", default)
        if isinstance(value, bool) or value < 0:
            raise self.problem(f"{name} must be a whole number from 0 on, not {value!r}")
        return value

    def items(self, name: str) -> list[Any]:
        value: list[Any] = self._typed(name, list, "a list", _MISSING)
        return value

    def objects(self, name: str) -> list[Fields]:
        return [
            Fields(item, f"{self.where}.{name}[{index}]")
            for index, item in enumerate(self.items(name))
        ]

    def optional(self, name: str) -> Fields | None:
        """The object in a field, or None when it is null or not there."""
        value = self.value.get(name)
        return None if value is None else Fields(value, f"{self.where}.{name}")

    def object(self, name: str) -> Fields:
        return Fields(self.value.get(name), f"{self.where}.{name}")

    def _typed(self, name: str, kind: type, described: str, default: Any) -> Any:
        value = self.value.get(name)
        if value is None and default is not _MISSING:
            return default
        if not isinstance(value, kind):
            found = "missing" if value is None else repr(value)[:80]
            raise self.problem(f"{name} must be {described}, but is {found}")
        return value
