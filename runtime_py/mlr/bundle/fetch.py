"""Fetch a shard into the cache: resumed where it was cut, each chunk verified as it arrives."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mlr.bundle.cache import DiskCache
from mlr.bundle.http import Body, HttpClient, TransientError
from mlr.bundle.integrity import wrong_chunk
from mlr.bundle.manifest import Shard
from mlr.bundle.storage import storage_error
from mlr.errors import FetchError, IntegrityError

__all__ = ["FetchStoppedError", "ShardFetch"]


class FetchStoppedError(Exception):
    """The caller does not want the shard any more; what was fetched is kept for the next time."""


class ShardFetch:
    """One shard on its way from a URL into the cache. `run` blocks: call it in a thread."""

    def __init__(
        self,
        client: HttpClient,
        cache: DiskCache,
        url: str,
        shard: Shard,
        chunk_size: int,
        stop: threading.Event,
        on_bytes: Callable[[int], None],
    ) -> None:
        """`on_bytes` is told of bytes that are verified and on disk; `stop` ends the fetch."""
        self._client, self._cache, self._url = client, cache, url
        self._shard, self._chunk_size = shard, chunk_size
        self._stop, self._on_bytes = stop, on_bytes
        self._digest = hashlib.sha256()
        self._done = 0  # chunks verified and written
        self._wrong: int | None = None  # the chunk that came wrong once

    def run(self) -> None:
        """Make the shard a blob of the cache.

        Raises `FetchError`, `IntegrityError` or `StorageError`, or `FetchStoppedError`.
        """
        shard, cache = self._shard, self._cache
        if cache.has(shard.sha256, shard.size):
            self._on_bytes(shard.size)  # verified when it is read
            return
        path = cache.partial(shard.sha256)
        try:
            # One step: another process may rename the file between its making and its opening.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(path, flags, 0o666), "r+b") as file:
                self._resume(file)
                self._fetch(file)
                file.truncate(shard.size)
            self._check_whole(path)
            cache.finish(shard.sha256, shard.size)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise storage_error(error, path, shard.size) from error

    def _resume(self, file: BinaryIO) -> None:
        """Verify what an earlier fetch left and go on after it."""
        for index in range(len(self._shard.chunks)):
            data = file.read(self._size_of(index))
            if hashlib.sha256(data).hexdigest() != self._shard.chunks[index]:
                break
            self._accept(data)

    def _size_of(self, index: int) -> int:
        return min(self._chunk_size, self._shard.size - index * self._chunk_size)

    def _accept(self, data: bytes) -> None:
        self._digest.update(data)
        self._done += 1
        self._on_bytes(len(data))

    def _fetch(self, file: BinaryIO) -> None:
        failures = 0
        while self._done < len(self._shard.chunks):
            before = self._done
            # After a wrong chunk, whatever cached it on the way is to be asked anew.
            headers = {"Cache-Control": "no-cache"} if self._wrong == self._done else None
            try:
                with self._client.get(self._url, self._done * self._chunk_size, headers) as body:
                    self._check_size(body)
                    self._copy(body, file)
            except TransientError as error:
                failures = 1 if self._done > before else failures + 1
                if failures >= self._client.attempts:
                    raise FetchError(
                        f"{self._url}: {error}, {failures} times in a row; check the network and "
                        "try again: what has arrived is kept"
                    ) from error
                self._check_stop()
                self._client.wait(failures)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise FetchStoppedError

    def _check_size(self, body: Body) -> None:
        if body.total is not None and body.total != self._shard.size:
            raise IntegrityError(
                f"{self._url}: has {body.total} bytes, the manifest says {self._shard.size}; "
                "the bundle was not uploaded whole, or is not served as it is"
            )

    def _copy(self, body: Body, file: BinaryIO) -> None:
        """Take chunks from a response until the end, or until one is wrong for the first time."""
        while self._done < len(self._shard.chunks):
            self._check_stop()
            index, size = self._done, self._size_of(self._done)
            data = body.read_exact(size)
            found, expected = hashlib.sha256(data).hexdigest(), self._shard.chunks[index]
            if found != expected:
                if self._wrong == index:
                    raise wrong_chunk(self._url, index, size, found, expected)
                self._wrong = index
                return
            file.seek(index * self._chunk_size)
            file.write(data)
            self._accept(data)

    def _check_whole(self, path: Path) -> None:
        """The chunks are right; a manifest that contradicts itself must not fill the cache."""
        found = self._digest.hexdigest()
        if found != self._shard.sha256:
            path.unlink(missing_ok=True)
            raise IntegrityError(
                f"{self._url}: the shard has the SHA-256 {found}, the manifest says "
                f"{self._shard.sha256}, though its chunks are right: the manifest is wrong"
            )
