"""The models that a server serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlr.server.errors import ApiError
from mlr.server.turns import Turns

if TYPE_CHECKING:
    from mlr.model import Model
    from mlr.server.bundles import BundleFiles

__all__ = ["Registry", "ServedModel"]


@dataclass(slots=True)
class ServedModel:
    """One model by the name that requests give it, its files, and the queue in front of it.

    `engine_error` is why its engine failed in the last generation; None when it did not.
    """

    id: str
    model: Model
    files: BundleFiles | None = None
    turns: Turns = field(default_factory=Turns)
    engine_error: str | None = None


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
