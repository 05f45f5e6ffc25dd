"""Work done for a client: it ends when the client leaves and when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from mlr.server.errors import ApiError

__all__ = ["ClientGone", "Work"]

Result = TypeVar("Result")


class ClientGone(Exception):
    """The client closed the connection; nobody is there to answer."""


class Work:
    """All the work in progress."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def run(self, receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
        """Do `work`, unless the client leaves first.

        In any case the work has ended when this returns or raises: its clean-up is waited for.
        Raises `ClientGone`, and `ApiError` 503 when the server stops.
        """
        if self._stopping:
            work.close()
            raise _stopping()
        task = asyncio.create_task(work)
        watcher = asyncio.create_task(_disconnection(receive))
        self._tasks.add(task)
        try:
            await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGone
            if task.cancelled():
                raise _stopping()
            return task.result()
        finally:
            self._tasks.discard(task)
            task.cancel()
            watcher.cancel()
            await asyncio.gather(task, watcher, return_exceptions=True)

    def stop(self) -> None:
        """End all work, and take on no more."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()


async def _disconnection(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _stopping() -> ApiError:
    return ApiError(503, "the server is stopping", code="server_stopping")
