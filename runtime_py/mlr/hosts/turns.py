"""Many callbacks of asyncio in one turn of a browser's event loop.

Pyodide's event loop asks JavaScript for a turn of its own for every callback, at 0.1 ms each, and a
token takes several. Here what is due is called one after the other, as asyncio does elsewhere, and
JavaScript has its turn when nothing is left or when it has waited long enough.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Turns"]

TURN_SECONDS = 0.05  # how long messages to this worker may wait


class Turns:
    """Takes the place of a loop's `call_soon`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Replace `loop.call_soon`; `clock` gives seconds."""
        self._loop, self._clock = loop, clock
        self._ask_for_turn = loop.call_soon
        self._due: deque[asyncio.Handle] = deque()
        self._asked = False
        loop.call_soon = self.call_soon  # type: ignore[assignment]

    def call_soon(
        self,
        callback: Callable[..., Any],
        *arguments: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Call `callback` after what is due already."""
        handle = asyncio.Handle(callback, arguments, self._loop, context)
        self._due.append(handle)
        if not self._asked:
            self._asked = True
            self._ask_for_turn(self._take_turn)
        return handle

    def _take_turn(self) -> None:
        end = self._clock() + TURN_SECONDS
        try:
            while self._due and self._clock() < end:
                handle = self._due.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:  # SystemExit and KeyboardInterrupt come through
            self._asked = bool(self._due)
            if self._asked:
                self._ask_for_turn(self._take_turn)
