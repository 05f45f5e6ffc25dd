"""Short ways to read a bundle in tests."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from mlr.bundle.http import HttpClient
from mlr.bundle.reader import Bundle, open_bundle
from mlr.hosts.cpython import CPythonHost

__all__ = ["flip_bit", "hasty_client", "opened", "read_all", "sha256", "wait_for_fetches"]


def hasty_client(delays: list[float] | None = None, timeout: float = 20.0) -> HttpClient:
    """A client that does not wait between tries: delays are noted instead of slept."""
    noted: list[float] = [] if delays is None else delays
    return HttpClient(timeout=timeout, attempts=4, delay=0.5, sleep=noted.append)


async def opened(location: str | Path, client: HttpClient | None = None) -> Bundle:
    return await open_bundle(location, CPythonHost(), client or hasty_client())


def read_all(
    location: str | Path,
    start: int = 0,
    client: HttpClient | None = None,
    on_fetch: Callable[[int, int], None] | None = None,
) -> bytes:
    """The first variant's bytes from the chunk that holds `start` on."""

    async def read() -> bytes:
        bundle = await opened(location, client)
        variant = bundle.manifest.variants[0]
        pieces: list[bytes] = []
        at = -1
        async for offset, piece in bundle.stream(variant, start, on_fetch):
            assert 0 < len(piece) <= variant.chunk_size
            assert at in (-1, offset)
            at = offset + len(piece)
            pieces.append(bytes(piece))
        return b"".join(pieces)

    return asyncio.run(read())


def flip_bit(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wait_for_fetches() -> None:
    """Fetches that were stopped end by themselves, in threads that hold nothing up."""
    for thread in threading.enumerate():
        if thread.name == "mlr-fetch":
            assert thread.daemon
            thread.join(20)
