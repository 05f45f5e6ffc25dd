"""Bring a variant's shards into the disk cache, several at once, while they are being used."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

from mlr.bundle.cache import DiskCache
from mlr.bundle.fetch import FetchStoppedError, ShardFetch
from mlr.bundle.http import HttpClient
from mlr.bundle.manifest import Shard, Variant
from mlr.hosts.base import Host

__all__ = ["Transfer"]

PARALLEL = 4
FetchCallback = Callable[[int, int], None]


class Transfer:
    """Fetches the shards from the one that holds `start` on, in order, until it is stopped."""

    def __init__(
        self,
        host: Host,
        client: HttpClient,
        cache: DiskCache,
        variant: Variant,
        urls: list[str],
        start: int,
        on_fetch: FetchCallback | None,
    ) -> None:
        """`urls` are those of the variant's shards."""
        self._host, self._client, self._cache = host, client, cache
        self._chunk_size = variant.chunk_size
        self._wanted: dict[str, tuple[Shard, str]] = {}  # by SHA-256: a shard may come twice
        offset = 0
        for shard, url in zip(variant.shards, urls, strict=True):
            offset += shard.size
            if offset > start:
                self._wanted.setdefault(shard.sha256, (shard, url))
        self._total = sum(shard.size for shard, _ in self._wanted.values())
        self._done = 0
        self._on_fetch = on_fetch
        self._stop = threading.Event()
        self._ready: dict[str, asyncio.Future[None]] = {}
        self._workers: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Start fetching. Raises `StorageError` when what is missing does not fit on the disk."""
        await self._host.run(self._cache.require_space, await self._host.run(self._missing))
        loop = asyncio.get_running_loop()
        self._ready = {sha256: loop.create_future() for sha256 in self._wanted}
        queue = iter(list(self._wanted))
        self._workers = [asyncio.create_task(self._work(queue)) for _ in range(PARALLEL)]

    def _missing(self) -> int:
        """Bytes that are still to be written."""
        missing = 0
        for shard, _ in self._wanted.values():
            if not self._cache.has(shard.sha256, shard.size):
                with contextlib.suppress(OSError):
                    missing -= self._cache.partial(shard.sha256).stat().st_size
                missing += shard.size
        return max(missing, 0)

    async def _work(self, queue: Iterator[str]) -> None:
        for sha256 in queue:
            try:
                await self._fetch(sha256)
            except Exception as error:
                self._fail(error)
                return
            if not self._ready[sha256].done():
                self._ready[sha256].set_result(None)

    async def _fetch(self, sha256: str) -> None:
        shard, url = self._wanted[sha256]
        loop = asyncio.get_running_loop()

        def on_bytes(count: int) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(self._advance, count)

        fetch = ShardFetch(
            self._client, self._cache, url, shard, self._chunk_size, self._stop, on_bytes
        )
        await _in_daemon_thread(fetch.run)

    def _advance(self, count: int) -> None:
        self._done = min(self._done + count, self._total)  # a repair counts its bytes again
        if self._on_fetch is not None and not self._stop.is_set():
            self._on_fetch(self._done, self._total)

    def _fail(self, error: Exception) -> None:
        """One shard that cannot be had ends the whole transfer."""
        self._stop.set()
        for future in self._ready.values():
            if not future.done() and not isinstance(error, FetchStoppedError):
                future.set_exception(error)

    async def ready(self, sha256: str) -> asyncio.Future[None]:
        """Wait until a shard is in the cache; gives what `repair` wants to know."""
        future = self._ready[sha256]
        await asyncio.shield(future)
        return future

    async def repair(self, sha256: str, seen: asyncio.Future[None]) -> None:
        """Throw away a shard that was found to be wrong in the cache and fetch it again.

        `seen` is what `ready` gave: of several callers that saw the same wrong shard, one acts
        and the others wait.
        """
        if self._ready[sha256] is seen:
            self._ready[sha256] = fresh = asyncio.get_running_loop().create_future()
            try:
                await self._host.run(self._cache.discard, sha256)
                await self._fetch(sha256)
            except Exception as error:
                self._fail(error)
            else:
                fresh.set_result(None)
        await self.ready(sha256)

    async def stop(self) -> None:
        """End the transfer; threads that wait for the network end by themselves."""
        self._stop.set()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for future in self._ready.values():
            if future.done() and not future.cancelled():
                future.exception()  # nobody may have waited for it
            future.cancel()


def _in_daemon_thread(function: Callable[[], None]) -> asyncio.Future[None]:
    """Run a call in a thread that does not keep the process alive.

    A read from a silent server lasts until its time-out; the threads of asyncio's own pool would
    hold up the end of the program for as long.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def work() -> None:
        error: BaseException | None = None
        try:
            function()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=work, name="mlr-fetch", daemon=True).start()
    return future
