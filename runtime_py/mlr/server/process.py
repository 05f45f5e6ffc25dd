"""The server's process: socket, models, uvicorn, signals."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from mlr.engines.kernel.instance import CacheType
from mlr.errors import RequestError
from mlr.server import limits
from mlr.server.app import create_app
from mlr.server.loading import Progress, load_models
from mlr.server.protocol import HttpProtocol
from mlr.server.security import is_loopback
from mlr.server.work import Work

__all__ = ["bind", "configure", "run"]

INTERRUPTED = 130  # what a shell reports for a command that SIGINT ended


def run(
    locations: Sequence[str],
    *,
    host: str,
    port: int,
    threads: int | None,
    context_length: int | None,
    parallel: int,
    kv_type: CacheType,
    draft: str | None,
    progress: Progress,
) -> int:
    """Serve bundles until a signal comes; returns the exit status.

    Raises `RequestError` when it cannot listen, and what loading raises.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    # The port is taken first: when it is not free, nobody waits for models to hear that.
    with bind(host, port) as listener:
        if not is_loopback(host):
            print(
                f"mlr: warning: listening on {host} without authentication: whoever can reach "
                "this address can use the models",
                file=sys.stderr,
            )
        return asyncio.run(
            _serve(
                listener,
                locations,
                host,
                threads=threads,
                context_length=context_length,
                parallel=parallel,
                kv_type=kv_type,
                draft=draft,
                progress=progress,
            )
        )


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not yet listening. Raises `RequestError`.

    It is made with its protocol's number: asyncio sends small pieces (tokens) at once only on
    sockets that say they are TCP.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise RequestError(f"--host {host!r}: {error}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from None
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> RequestError:
    return RequestError(
        f"cannot listen on {host} port {port}: {error.strerror}; "
        "choose another with --port (0 takes a free one) or --host"
    )


async def _serve(
    listener: socket.socket,
    locations: Sequence[str],
    host: str,
    *,
    threads: int | None,
    context_length: int | None,
    parallel: int,
    kv_type: CacheType,
    draft: str | None,
    progress: Progress,
) -> int:
    async with AsyncExitStack() as stack:
        registry = await load_models(
            locations,
            stack,
            threads=threads,
            context_length=context_length,
            parallel=parallel,
            kv_type=kv_type,
            draft=draft,
            progress=progress,
        )
        work = Work()
        port: int = listener.getsockname()[1]
        config = configure(create_app(registry, work, host=host))
        names = ", ".join(served.id for served in registry)
        address = f"http://{_url_host(host)}:{port}"

        def ready() -> None:
            print(f"Serving {names}\nPlayground: {address}/\nAPI: {address}/v1", flush=True)

        with _noted_signals() as signals:
            try:
                await _Server(config, work, ready).serve([listener])
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                # another process took the port while the models loaded
                raise _cannot_listen(host, port, error) from None
    return INTERRUPTED if signal.SIGINT in signals else 0


def configure(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=limits.MAX_CONNECTIONS,
        timeout_graceful_shutdown=limits.SHUTDOWN_TIMEOUT,
    )


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready and ends the generations before it waits for them."""

    def __init__(self, config: uvicorn.Config, work: Work, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._work = work
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._work.stop()
        await super().shutdown(sockets)


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Collect the signals that uvicorn raises again after it has stopped for them.

    Without this they would end the process before the models are closed.
    """
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _url_host(host: str) -> str:
    """The host as a URL on this machine has it."""
    if host in ("0.0.0.0", "::", ""):
        return "localhost"
    return f"[{host}]" if ":" in host else host
