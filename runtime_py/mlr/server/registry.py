"""The models that a server serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlr.server.errors import ApiError
from mlr.server.turns import Turns

if TYPE_CHECKING:
    from mlr.bundle.manifest import Manifest
    from mlr.model import Model

__all__ = ["Registry", "ServedModel"]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model, its bundle, and the queue in front of it."""

    model: Model
    manifest: Manifest
    chat_template: str | None
    folder: Path | None
    """Where the bundle's files are; None when it was fetched from a URL."""
    turns: Turns = field(default_factory=Turns)

    @property
    def id(self) -> str:
        """What requests call it."""
        return self.manifest.name


class Registry:
    """The served models by name, in the order they were given."""

    def __init__(self, models: list[ServedModel]) -> None:
        self._models = {model.id: model for model in models}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def get(self, model_id: str) -> ServedModel:
        """The model of that name; raises `ApiError` 404, naming those there are."""
        try:
            return self._models[model_id]
        except KeyError:
            raise ApiError(
                404,
                f"there is no model {model_id!r} here; there is {', '.join(self._models)}",
                param="model",
                code="model_not_found",
            ) from None
