"""A model on the web: its header is read in ranges first, then the file is downloaded once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from mlr.bundle.cache import DOWNLOADS, cache_directory
from mlr.bundle.http import Body, HttpClient, TransientError
from mlr.bundle.storage import ensure_free, storage_error
from mlr.errors import FetchError, RequestError
from mlr.formats.source import FileSource, check_range
from mlr_build.progress import Advance, Progress
from mlr_build.sources import OpenedSource, Preflight

__all__ = ["open_web"]

_BLOCK_BYTES = 1 << 20
T = TypeVar("T")


class WebSource:
    """A file on the web read in ranges. `read_at` raises `FetchError` when the network fails."""

    def __init__(self, url: str, client: HttpClient) -> None:
        """Ask the server for the file's size and its first bytes."""
        self.name = url
        self._client = client
        self.size, self._head = self._try(0, _size_and_head)

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset` on."""
        check_range(self, offset, size)
        if offset + size <= len(self._head):
            return self._head[offset : offset + size]
        return self._try(offset, lambda body: body.read_exact(size))

    def _try(self, start: int, use: Callable[[Body], T]) -> T:
        failures = 0
        while True:
            try:
                with self._client.get(self.name, start) as body:
                    return use(body)
            except TransientError as error:
                failures = _count_failure(self.name, error, failures, self._client)


def _count_failure(url: str, error: TransientError, failures: int, client: HttpClient) -> int:
    """Wait before the next try, or give up."""
    failures += 1
    if failures >= client.attempts:
        raise FetchError(
            f"{url}: {error}, {failures} times in a row; check the network and try again: "
            "what has arrived is kept"
        ) from error
    client.wait(failures)
    return failures


def _size_and_head(body: Body) -> tuple[int, bytes]:
    size = _require_total(body)
    return size, body.read_exact(min(size, _BLOCK_BYTES))


def _require_total(body: Body) -> int:
    if body.total is None:
        raise FetchError(f"{body.url}: the server does not say how large the file is")
    return body.total


@contextlib.contextmanager
def open_web(
    url: str, progress: Progress, preflight: Preflight | None, client: HttpClient | None = None
) -> Iterator[OpenedSource]:
    """Open a model at an http(s) URL; see `open_source`."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise RequestError(f"{url:.200}: is not a valid URL: {error}") from error
    if not parts.hostname or "@" in parts.netloc:
        raise RequestError("the URL needs a host, and cannot hold a user name or password")
    client = client or HttpClient()
    # A query may hold a signature that gives access; it does not go into the bundle.
    origin = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    stem = PurePosixPath(unquote(parts.path)).stem
    there = WebSource(url, client)
    remote = OpenedSource(there, origin, stem)
    if preflight is None:
        yield remote
        return
    preflight(remote)
    folder = cache_directory() / DOWNLOADS / "web" / hashlib.sha256(url.encode()).hexdigest()[:32]
    download = _Download(url, client, folder, there.size)
    path = download.run(progress)
    with FileSource(path) as source:
        source.name = url
        yield OpenedSource(source, origin, stem)
    download.remove()  # only when all went well: else the next try need not fetch it again


class _Download:
    """A file being downloaded into a folder of the cache, resumed when it has not changed."""

    def __init__(self, url: str, client: HttpClient, folder: Path, size: int) -> None:
        """`size` is what the file has on the server, in bytes."""
        self._url, self._client, self._size = url, client, size
        self._folder, self._path = folder, folder / "data"
        self._state = folder / "state.json"

    def run(self, progress: Progress) -> Path:
        """Download what is missing; gives the whole file."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path.touch()
            failures = 0
            while True:
                before = self._begun()
                try:
                    with self._client.get(self._url, before) as body:
                        self._receive(body, before, progress)
                    return self._path
                except _ChangedError:
                    self._path.write_bytes(b"")
                except TransientError as error:
                    if self._path.stat().st_size > before:
                        failures = 0
                    failures = _count_failure(self._url, error, failures, self._client)
        except OSError as error:
            needed = self._path.stat().st_size if self._path.exists() else 0
            raise storage_error(error, self._path, needed) from error

    def _begun(self) -> int:
        """How many bytes are there to go on from. A server has no answer to who asks for nothing,
        so of a whole file the last byte is asked for again, and with it whether it is the same."""
        there = self._path.stat().st_size
        if there < self._size:
            return there
        state = self._read_state()
        whole = there == self._size and isinstance(state, dict) and state.get("total") == there
        kept = there - 1 if whole else 0
        os.truncate(self._path, kept)
        return kept

    def _receive(self, body: Body, start: int, progress: Progress) -> None:
        total = _require_total(body)
        identity = _identity(body.headers, total)
        if start and self._read_state() != identity:
            raise _ChangedError
        if start > total:
            raise _ChangedError
        if not start:
            self._state.write_text(json.dumps(identity), encoding="utf-8")
        ensure_free(self._folder, total - start)
        with (
            self._path.open("ab") as file,
            progress.step(f"Downloading {self._url}", total) as advance,
        ):
            advance(start)
            self._copy(body, file.write, total - start, advance)

    def _copy(
        self, body: Body, write: Callable[[bytes], int], count: int, advance: Advance
    ) -> None:
        while count:
            data = body.read_some(min(count, _BLOCK_BYTES))
            if not data:
                raise TransientError("the connection was cut")
            write(data)
            advance(len(data))
            count -= len(data)

    def _read_state(self) -> object:
        try:
            return json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def remove(self) -> None:
        """Remove what was downloaded."""
        for path in (self._path, self._state):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()


class _ChangedError(Exception):
    """The file on the server is not the one that the download began with."""


def _identity(headers: Mapping[str, str], total: int) -> dict[str, object]:
    """What tells one version of a file from another."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return {
        "total": total,
        "etag": lowered.get("etag"),
        "modified": lowered.get("last-modified"),
    }
