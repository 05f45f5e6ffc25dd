"""Checks of what a caller passes, before anything is done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mlr.errors import RequestError

__all__ = ["check_callback", "check_memory_limit", "check_options"]


def check_options(given: Iterable[str], function: Callable[..., Any]) -> None:
    """Raise `RequestError` for an option that is none of a function's keywords, naming those."""
    known: Iterable[str] = getattr(function, "__kwdefaults__")  # noqa: B009 - methods have it too
    unknown = [name for name in given if name not in known]
    if unknown:
        raise RequestError(f"there is no option {unknown[0]!r}; the options: {', '.join(known)}")


def check_callback(value: object, name: str) -> None:
    """Raise `RequestError` unless a callback is None or can be called."""
    if value is not None and not callable(value):
        raise RequestError(f"{name} must be a function, got {value!r:.60}")


def check_memory_limit(value: object) -> None:
    """Raise `RequestError` unless a limit is None or a number of bytes."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise RequestError(f"memory_limit must be a whole number of bytes, got {value!r:.60}")
