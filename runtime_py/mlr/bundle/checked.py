"""Typed, bounded access to JSON that came from the network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

from mlr.errors import ManifestError

__all__ = ["CheckedObject", "load_json"]

Item = TypeVar("Item")


def load_json(data: bytes, where: str) -> Any:
    """Parse JSON, refusing duplicate keys, NaN, unpaired surrogates and endless nesting."""

    def refuse_constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key is there twice in one object")
        return result

    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse_constant)
        if "\\u" in text:  # an unpaired surrogate cannot be printed or stored
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:  # UnicodeError is a ValueError
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ManifestError(f"{where}: is not valid JSON: {reason}") from error
    return value


class CheckedObject:
    """A JSON object whose fields are taken one by one, each with its type and limits.

    Every problem is a `ManifestError` that names the file and the path of the field.
    """

    def __init__(
        self,
        value: Any,
        where: str,
        path: str,
        fields: Iterable[str],
        optional: Iterable[str] = (),
    ) -> None:
        """Raise unless `value` is an object with exactly the keys `fields`.

        Those of them that are `optional` may be missing, which is the same as null.
        """
        self.where, self.path = where, path
        if not isinstance(value, dict):
            raise self.error("", "must be an object")
        self._value: dict[str, Any] = {**dict.fromkeys(optional), **value}
        expected = set(fields)
        for name in sorted(expected - self._value.keys()):
            raise self.error(name, "is missing")
        for name in sorted(value.keys() - expected):
            raise self.error(f"{name:.60}", "is not a known field")

    def error(self, field: str, problem: str) -> ManifestError:
        """An error about one field."""
        path = ".".join(part for part in (self.path, field) if part) or "the manifest"
        return ManifestError(f"{self.where}: {path}: {problem}")

    def raw(self, name: str) -> Any:
        """The value as it is."""
        return self._value[name]

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer within limits."""
        value = self._value[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(name, f"must be an integer from {low} to {high}, got {value!r:.60}")
        return value

    def text(self, name: str, limit: int, pattern: re.Pattern[str] | None = None) -> str:
        """A string of at most `limit` characters that matches `pattern` as a whole."""
        value = self._value[name]
        if not isinstance(value, str):
            raise self.error(name, f"must be a string, got {value!r:.60}")
        if len(value) > limit:
            raise self.error(name, f"is longer than {limit} characters")
        if pattern is not None and not pattern.fullmatch(value):
            raise self.error(name, f"{value!r:.80} does not match {pattern.pattern}")
        return value

    def optional_text(self, name: str, limit: int, pattern: re.Pattern[str] | None) -> str | None:
        """A string, or None for null."""
        return None if self._value[name] is None else self.text(name, limit, pattern)

    def items(
        self, name: str, low: int, high: int, read: Callable[[Any, str], Item]
    ) -> tuple[Item, ...]:
        """A list of `low` to `high` items, each read with `read(value, path)`."""
        value = self._value[name]
        if not isinstance(value, list):
            raise self.error(name, "must be a list")
        if not low <= len(value) <= high:
            raise self.error(name, f"must have {low} to {high} items, has {len(value)}")
        prefix = f"{self.path}.{name}" if self.path else name
        return tuple(read(item, f"{prefix}[{index}]") for index, item in enumerate(value))
