"""What an architecture is, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlr.formats.architectures.header import Header

__all__ = ["Architecture", "Fields"]

Fields = dict[str, Any]  # fields of ModelConfig by name


@dataclass(frozen=True, slots=True)
class Architecture:
    """How the models of one `general.architecture` differ from Llama's.

    `traits` are fields of `ModelConfig` that all of them share. `refine` is for what a trait
    cannot say, because it depends on the file: given the header and the fields read so far, it
    returns those that are otherwise.
    """

    traits: Mapping[str, Any] = field(default_factory=dict)
    refine: Callable[[Header, Fields], Fields] | None = None
