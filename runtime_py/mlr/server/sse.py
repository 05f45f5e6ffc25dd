"""Server-sent events as OpenAI's clients expect them: `data: JSON`, and `data: [DONE]` last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.types import Send

from mlr.errors import MlrError
from mlr.server import limits
from mlr.server.errors import ApiError, api_error
from mlr.server.work import ClientGone

__all__ = ["EventSender"]

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy must pass each event on at once
]


class EventSender:
    """Sends one stream of events."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def send_all(self, events: AsyncIterator[dict[str, Any]]) -> None:
        """Send the events, then the mark of the end; an error of mlr becomes the last event."""
        await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        self.started = True
        try:
            async with aclosing(events) as items:  # type: ignore[type-var]
                async for event in items:
                    await self._event(_data(event))
        except MlrError as error:
            await self.fail(api_error(error))
            return
        await self._event(b"data: [DONE]\n\n")
        await self._end()

    async def fail(self, error: ApiError) -> None:
        """Send an error as the last event: the status has long been sent."""
        await self._event(_data(error.body()))
        await self._end()

    async def _event(self, data: bytes) -> None:
        """Send an event. Raises `ClientGone` for a client that does not read."""
        try:
            async with asyncio.timeout(limits.SEND_TIMEOUT):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            raise ClientGone from None

    async def _end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _data(value: dict[str, Any]) -> bytes:
    """One event. JSON has no line breaks of its own, so one `data:` line holds it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()
