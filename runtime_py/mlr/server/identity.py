"""What every answer carries: its id, when it was made, and by what."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from mlr import __version__

__all__ = ["Identity", "new_identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """One answer's id, time in Unix seconds, and model."""

    id: str
    created: int
    model: str

    def body(self, kind: str) -> dict[str, Any]:
        """The fields that every object and every chunk begins with."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"mlr-{__version__}",
        }


def new_identity(prefix: str, model: str) -> Identity:
    """An identity that no other answer has."""
    return Identity(f"{prefix}-{secrets.token_hex(12)}", int(time.time()), model)
