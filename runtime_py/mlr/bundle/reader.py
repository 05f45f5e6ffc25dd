"""Open a bundle in a folder or under a URL and read it, verifying every byte before its use."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from mlr.bundle.integrity import check_file
from mlr.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    Variant,
)
from mlr.bundle.manifest_reader import parse_manifest
from mlr.bundle.stream import stream_chunks
from mlr.errors import BundleError, RequestError
from mlr.hosts.base import Host

if TYPE_CHECKING:
    from mlr.bundle.http import HttpClient

__all__ = ["Bundle", "open_bundle"]


class Bundle:
    """An opened bundle. Nothing but the manifest has been read."""

    def __init__(
        self, manifest: Manifest, location: str, host: Host, client: HttpClient | None = None
    ) -> None:
        """`location` is a folder's path, or a URL whose path is a folder's and ends in a slash."""
        self.manifest = manifest
        self.location = location
        self.remote = _is_url(location)
        self._host = host
        self._client = client

    def place(self, file: str) -> str:
        """The path or URL of one of the bundle's files."""
        return _file_url(self.location, file) if self.remote else str(Path(self.location) / file)

    async def read_file(self, entry: FileEntry) -> bytes:
        """A small file's content, checked against its size and SHA-256.

        Raises `FetchError`, `BundleError`, `IntegrityError` or `StorageError`.
        """
        place = self.place(entry.file)
        if not self.remote:
            data = await self._host.run(_read_local, Path(place), entry.size)
            check_file(data, entry, place)
            return data
        cache = None if entry in self.manifest.files else self._host.disk_cache()
        if cache is not None:
            cached = await self._host.run(cache.read, entry.sha256, entry.size)
            if cached is not None:
                return cached
        data = await self._host.read_url(place, entry.size)
        check_file(data, entry, place)
        if cache is not None:
            await self._host.run(cache.store, entry.sha256, data)
        return data

    async def stream(
        self,
        variant: Variant,
        start: int = 0,
        on_fetch: Callable[[int, int], None] | None = None,
    ) -> AsyncGenerator[tuple[int, memoryview], None]:
        """Verified pieces of the variant's file, in order, from the chunk that holds `start`.

        Yields (offset in the file, bytes); the bytes are valid until the next piece is asked
        for. Shards of a bundle under a URL are fetched into the disk cache, several at once;
        `on_fetch` is told (bytes there, bytes in all). Closing the iterator stops the fetch and
        keeps what has arrived. Raises `FetchError`, `IntegrityError`, `StorageError` or
        `BundleError`.
        """
        if not self.remote:
            paths = [Path(self.place(shard.file)) for shard in variant.shards]
            async with aclosing(stream_chunks(self._host, variant, start, paths, None)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        # The network's modules take longer to import than all the rest, and a page has no use for
        # them.
        from mlr.bundle.http import HttpClient
        from mlr.bundle.transfer import Transfer

        cache = self._host.disk_cache()
        if cache is None:
            raise BundleError(f"{self.location}: this host keeps no files, so nothing is streamed")
        await self._host.run(
            cache.register, self.manifest.name, self.location, self._blobs(variant)
        )
        paths = [cache.blob(shard.sha256) for shard in variant.shards]
        urls = [self.place(shard.file) for shard in variant.shards]
        client = self._client or HttpClient()
        transfer = Transfer(self._host, client, cache, variant, urls, start, on_fetch)
        try:
            await transfer.begin()
            chunks = stream_chunks(self._host, variant, start, paths, transfer)
            async with aclosing(chunks) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            await transfer.stop()

    def _blobs(self, variant: Variant) -> dict[str, int]:
        """The SHA-256 and size of everything that loading this variant brings into the cache."""
        entries: list[FileEntry] = [self.manifest.tokenizer]
        if self.manifest.chat_template:
            entries.append(self.manifest.chat_template)
        blobs = {entry.sha256: entry.size for entry in entries}
        return blobs | {shard.sha256: shard.size for shard in variant.shards}


async def open_bundle(
    location: str | os.PathLike[str], host: Host, client: HttpClient | None = None
) -> Bundle:
    """Open the bundle at a folder, or at the URL of a folder or of its `manifest.json`.

    Raises `RequestError` for a location that cannot be one, `FetchError` when the network
    fails, `BundleError` when there is no bundle, `ManifestError` when its manifest is not right.
    """
    text = os.fspath(location) if isinstance(location, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise RequestError(
            f"a bundle's location is a folder (a string or a path) or a URL, got {location!r:.60}"
        )
    if _is_url(text):
        base = _base_url(text)
        url = _file_url(base, MANIFEST_NAME)
        data = await host.read_url(url, MAX_MANIFEST_BYTES)
        return Bundle(parse_manifest(data, url), base, host, client)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise RequestError(f"{text:.200}: a bundle is a folder or an http(s) URL")
    path = await host.run(_manifest_path, Path(text))
    data = await host.run(_read_local, path, MAX_MANIFEST_BYTES)
    return Bundle(parse_manifest(data, str(path)), str(path.parent), host, client)


def _manifest_path(location: Path) -> Path:
    """The manifest of a bundle, given its folder or the manifest itself."""
    try:
        if location.name == MANIFEST_NAME and location.is_file():
            return location
        path = location / MANIFEST_NAME
        if path.is_file():
            return path
        hint = "make one with mlr-build package" if location.exists() else "check the path"
    except OSError as error:  # a folder that may not be read, a name that is too long
        raise BundleError(f"{location}: cannot be read: {error.strerror}") from error
    raise BundleError(f"{location}: is not a bundle, it has no {MANIFEST_NAME}; {hint}")


def _is_url(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))


def _base_url(text: str) -> str:
    """The folder's URL with a slash at its end; a query stays, for addresses that are signed."""
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise RequestError(f"{text:.200}: is not a valid URL: {error}") from error
    if not parts.hostname or "@" in parts.netloc:
        raise RequestError("a bundle's URL needs a host, and cannot hold a user name or password")
    path = parts.path.removesuffix(MANIFEST_NAME)
    return urlunsplit(
        (parts.scheme, parts.netloc, path if path.endswith("/") else path + "/", parts.query, "")
    )


def _file_url(base: str, file: str) -> str:
    parts = urlsplit(base)
    return urlunsplit(parts._replace(path=parts.path + quote(file)))


def _read_local(path: Path, limit: int) -> bytes:
    """A regular file of at most `limit` bytes; a longer one is cut one byte after."""
    try:
        if not path.is_file():  # a pipe would wait for ever
            raise BundleError(f"{path}: this file of the bundle is missing; get the bundle again")
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error
