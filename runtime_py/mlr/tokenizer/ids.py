"""Token ids that a caller gave."""

from __future__ import annotations

import operator
from typing import Any

from mlr.errors import RequestError

__all__ = ["token_ids"]


def token_ids(value: Any, what: str, kind: str = "a text or token ids") -> list[int]:
    """The ids in any iterable of whole numbers, NumPy's too.

    `what` names it in messages, and `kind` is what it could have been. Raises `RequestError` for
    anything else; also for bytes, which are numbers to Python and a text to who passes them.
    """
    try:
        if isinstance(value, (bytes, bytearray)):
            raise TypeError
        return [operator.index(item) for item in value]
    except TypeError:
        raise RequestError(f"{what} must be {kind}, got {value!r:.60}") from None
