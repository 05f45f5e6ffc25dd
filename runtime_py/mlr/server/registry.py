"""The models that a server serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlr.errors import EngineError
from mlr.server.errors import ApiError
from mlr.server.turns import Turns

if TYPE_CHECKING:
    from mlr.model import Model
    from mlr.server.bundles import BundleFiles

__all__ = ["Registry", "ServedModel"]


log = logging.getLogger("mlr.server")


@dataclass(slots=True)
class ServedModel:
    """One model by the name that requests give it, its files, and the queue in front of it.

    `load` loads it again. `engine_error` is why its engine failed; None when it works.
    """

    id: str
    model: Model
    load: Callable[[], Awaitable[Model]]
    files: BundleFiles | None = None
    turns: Turns = field(default_factory=Turns)
    engine_error: str | None = None
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Model]:
        """Wait for a turn with the model, which is loaded again when its engine has failed."""
        async with self.turns.turn():
            model = await self._working_model()
            try:
                yield model
            except EngineError as error:
                if model is self.model:  # others who used it may have had it loaded again
                    self.engine_error = str(error)
                raise

    async def _working_model(self) -> Model:
        async with self._loading:
            if self.engine_error is not None:
                log.warning("%s: loading it again, since %s", self.id, self.engine_error)
                with suppress(EngineError):  # the engine that failed is let go, as well as it can
                    await self.model.close()
                self.model = await self.load()
                self.engine_error = None
            return self.model

    async def close(self) -> None:
        """Free the model."""
        await self.model.close()


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
