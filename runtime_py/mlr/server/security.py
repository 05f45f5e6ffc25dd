"""Headers on every response, and the check of the Host header."""

from __future__ import annotations

import ipaddress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlr.page.headers import HEADERS
from mlr.server.errors import ApiError

__all__ = ["HostCheck", "SecurityHeaders", "is_loopback"]


class SecurityHeaders:
    """Adds `HEADERS` to every response, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class HostCheck:
    """Refuses requests for another host than this machine.

    A page elsewhere can point its own name at 127.0.0.1 and then talk to a server there as if it
    were its own (DNS rebinding); the Host header gives that away. An address cannot be rebound.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 421."""
        if scope["type"] == "http":
            host = Headers(scope=scope).get("host", "")
            if not self._is_allowed(host):
                error = ApiError(
                    421,
                    f"this server answers on this machine only, not as {host!r}: use localhost, "
                    "or start it with --host",
                    code="wrong_host",
                )
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_allowed(self, header: str) -> bool:
        host = header.lower()
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        elif host.count(":") == 1:
            host = host.partition(":")[0]
        return host in ("localhost", self._host) or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of, or the name for, this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
