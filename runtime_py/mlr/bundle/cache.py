"""Files of bundles that came from the network, kept on disk under the SHA-256 of their content.

The folder is `$MLR_CACHE`, or `mlr` in the platform's folder for caches. It holds
`blobs/<sha256>`, `partial/<sha256>` (what a cut download has so far), `bundles/*.json` (which
blobs belong to which bundle) and `downloads/` (sources that `mlr-build` fetched). Nothing in it
is trusted: what is read from it is verified again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlr.bundle.storage import ensure_free, storage_error
from mlr.errors import StorageError

__all__ = [
    "CacheEntry",
    "DiskCache",
    "cache_directory",
    "clear",
    "entries",
    "size",
]

DOWNLOADS = "downloads"


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A cached bundle: its name, where it came from, its bytes on disk, whether all is there."""

    name: str
    location: str
    size: int
    complete: bool


def cache_directory() -> Path:
    """Where the cache is: `$MLR_CACHE`, or the platform's place for caches.

    Raises `StorageError` for a user without a home.
    """
    chosen = os.environ.get("MLR_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "mlr"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local") / "mlr"
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "mlr"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise StorageError(
            "there is no home directory for the cache of bundles: set MLR_CACHE to a folder"
        ) from None


class DiskCache:
    """The cache in one folder. Several processes may use it at once."""

    def __init__(self, root: Path | None = None) -> None:
        """`root` is the folder; by default that of `cache_directory`. Made when first written."""
        self.root = root if root is not None else cache_directory()

    def blob(self, sha256: str) -> Path:
        """Where the file with this content is or will be."""
        return self.root / "blobs" / sha256

    def partial(self, sha256: str) -> Path:
        """Where the first bytes of the file are kept while it is fetched.

        Processes may write it at the same time: all of them write only verified bytes, each at
        its place, so they write the same.
        """
        return self.root / "partial" / sha256

    def has(self, sha256: str, size: int) -> bool:
        """Whether a blob of this size is there. Its content is not looked at."""
        try:
            return self.blob(sha256).stat().st_size == size
        except OSError:
            return False

    def require_space(self, needed: int) -> None:
        """Make the folders; raise `StorageError` when `needed` bytes do not fit on the disk."""
        try:
            for name in ("blobs", "partial", "bundles"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.root, needed) from error
        ensure_free(self.root, needed)

    def finish(self, sha256: str, size: int) -> None:
        """Turn a partial file, now whole and verified, into a blob.

        When another process was first, its blob stays: the partial file of this name may by now
        be that of a third one, which has not finished.
        """
        if not self.has(sha256, size):
            try:
                self.partial(sha256).replace(self.blob(sha256))
            except FileNotFoundError:
                if not self.has(sha256, size):
                    raise
        self.partial(sha256).unlink(missing_ok=True)

    def discard(self, sha256: str) -> None:
        """Remove a blob that is wrong."""
        self.blob(sha256).unlink(missing_ok=True)

    def read(self, sha256: str, size: int) -> bytes | None:
        """A small file's verified content, or None when it is not there or not right."""
        if not self.has(sha256, size):
            return None
        try:
            data = self.blob(sha256).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
        self.discard(sha256)
        return None

    def store(self, sha256: str, data: bytes) -> None:
        """Keep a small file. Raises `StorageError`."""
        self.require_space(len(data))
        self._write(self.blob(sha256), data)

    def _write(self, path: Path, data: bytes) -> None:
        """Write a file so that it appears whole or not at all."""
        incoming = self.root / "partial" / f"{path.name}.{secrets.token_hex(4)}"
        try:
            incoming.write_bytes(data)
            incoming.replace(path)
        except OSError as error:
            incoming.unlink(missing_ok=True)
            raise storage_error(error, path, len(data)) from error

    def register(self, name: str, location: str, blobs: Mapping[str, int]) -> None:
        """Note that a bundle uses these blobs (SHA-256: size)."""
        self.require_space(0)
        record = {"name": name, "location": location, "blobs": dict(blobs)}
        path = self._record(location)
        data = json.dumps(record, ensure_ascii=False).encode("utf-8")
        if not (path.exists() and path.read_bytes() == data):
            self._write(path, data)

    def _record(self, location: str) -> Path:
        return self.root / "bundles" / f"{hashlib.sha256(location.encode()).hexdigest()[:32]}.json"

    def _records(self) -> Iterator[tuple[Path, str, str, dict[str, int]]]:
        """Each bundle's record: file, name, location, blobs. Broken records are passed over."""
        for path in sorted((self.root / "bundles").glob("*.json")):
            try:
                record = json.loads(path.read_bytes())
                blobs = {str(sha): int(size) for sha, size in record["blobs"].items()}
                yield path, str(record["name"]), str(record["location"]), blobs
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue

    def entries(self) -> list[CacheEntry]:
        """The bundles, by name; then the sources that `mlr-build` keeps, when there are some."""
        found = []
        for _, name, location, blobs in self._records():
            on_disk = sum(self._bytes_of(sha256) for sha256 in blobs)
            complete = all(self.has(sha256, size) for sha256, size in blobs.items())
            found.append(CacheEntry(name, location, on_disk, complete))
        found.sort(key=lambda entry: (entry.name, entry.location))
        downloads = _tree_bytes(self.root / DOWNLOADS)
        if downloads:
            place = str(self.root / DOWNLOADS)
            found.append(CacheEntry(DOWNLOADS, place, downloads, complete=True))
        return found

    def _bytes_of(self, sha256: str) -> int:
        return _file_bytes(self.blob(sha256)) + _file_bytes(self.partial(sha256))

    def size(self) -> int:
        """Bytes of all files together."""
        return _tree_bytes(self.root)

    def clear(self, name: str | None = None) -> int:
        """Remove everything, or the bundles of this name or location; gives the bytes freed.

        Blobs that another bundle uses stay. `downloads` names what `mlr-build` fetched.
        """
        before = self.size()
        if name is None:
            for folder in ("bundles", "blobs", "partial", DOWNLOADS):
                _remove_tree(self.root / folder)
        elif name == DOWNLOADS:
            _remove_tree(self.root / DOWNLOADS)
        else:
            dropped: set[str] = set()
            kept: set[str] = set()
            for path, bundle, location, blobs in list(self._records()):
                if name in (bundle, location):
                    dropped |= blobs.keys()
                    path.unlink(missing_ok=True)
                else:
                    kept |= blobs.keys()
            for sha256 in dropped - kept:
                self.discard(sha256)
                self.partial(sha256).unlink(missing_ok=True)
        return before - self.size()


def _remove_tree(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: cannot be removed: {error.strerror}"
        ) from error


def _file_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _tree_bytes(folder: Path) -> int:
    return sum(
        _file_bytes(Path(parent) / name) for parent, _, names in os.walk(folder) for name in names
    )


def entries() -> list[CacheEntry]:
    """The bundles in the user's cache."""
    return DiskCache().entries()


def size() -> int:
    """Bytes that the user's cache takes."""
    return DiskCache().size()


def clear(name: str | None = None) -> int:
    """Empty the user's cache, or remove one bundle from it; gives the bytes freed."""
    return DiskCache().clear(name)
