"""uvicorn's HTTP, with a limit on how long a connection may take to say what it wants."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mlr.server import limits

__all__ = ["HttpProtocol"]


class HttpProtocol(H11Protocol):
    """Closes a connection on which the head of a request does not arrive in time.

    uvicorn lets such connections be, so that a few hundred of them would keep out everybody else.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Pass data on; a head that is whole is waited for no more."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._deadline is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        # what uvicorn does between two requests, where it waits for five seconds at most
        close = self.timeout_keep_alive_handler
        self._deadline = self.loop.call_later(limits.HEAD_TIMEOUT, close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
