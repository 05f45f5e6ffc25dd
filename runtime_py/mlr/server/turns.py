"""Who may use a model, and when: first come, first served, with a limit on who waits."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from mlr.server import limits
from mlr.server.errors import ApiError

__all__ = ["Turns"]


class Turns:
    """The queue in front of one model, which `parallel` may use at once.

    A request is admitted once, and takes a turn for each of its prompts. Turns are given in the
    order in which they were asked for, so a request with many prompts goes to the back of the
    queue after each of them and cannot keep the others waiting.
    """

    def __init__(
        self,
        max_waiting: int = limits.MAX_WAITING,
        clock: Callable[[], float] = time.monotonic,
        parallel: int = 1,
    ) -> None:
        self._max_waiting = max_waiting
        self._max_admitted = max_waiting + parallel  # those whose turn it is do not wait
        self._clock = clock
        self._free = asyncio.Semaphore(parallel)  # wakes its waiters in the order they came
        self._mean_seconds = 1.0
        self.admitted = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold a place in the queue; raises `ApiError` 503 when there is none."""
        if self.admitted >= self._max_admitted:
            raise ApiError(
                503,
                f"the model is busy and {self._max_waiting} requests are waiting: try again later",
                code="overloaded",
                headers={"retry-after": str(self.retry_after())},
            )
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the model, and use it."""
        async with self._free:
            started = self._clock()
            try:
                yield
            finally:
                seconds = self._clock() - started
                self._mean_seconds += (seconds - self._mean_seconds) / 8

    def retry_after(self) -> int:
        """Whole seconds after which a place should be free, from how long turns have taken."""
        return max(1, min(limits.MAX_RETRY_AFTER, math.ceil(self._mean_seconds)))
