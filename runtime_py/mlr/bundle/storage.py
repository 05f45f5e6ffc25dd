"""Errors about the disk that say how much is needed and how much there is."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from mlr.errors import StorageError

__all__ = ["ensure_free", "free_bytes", "storage_error"]


def free_bytes(path: Path) -> int | None:
    """Free bytes on the disk of the nearest folder that exists."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return None


def storage_error(error: OSError, path: Path, needed: int) -> StorageError:
    """A `StorageError` for a failed write, of a full disk with the bytes needed and free."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{path}: cannot be written: {error.strerror or error}")
    free = free_bytes(path)
    numbers = f"{needed} bytes are needed, {'unknown' if free is None else free} bytes are free"
    return StorageError(f"{path}: the disk is full: {numbers}; free some space and try again")


def ensure_free(path: Path, needed: int) -> None:
    """Raise `StorageError` when the disk of `path` has less than `needed` bytes free."""
    free = free_bytes(path)
    if free is not None and free < needed:
        raise storage_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path, needed)
