"""A folder for large files that are gone once they have been used."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlr.bundle.storage import storage_error

__all__ = ["work_folder"]


@contextmanager
def work_folder(store: Path, doing: str) -> Iterator[Path]:
    """A new folder in `store`, which is made if needed; `doing` begins its name.

    It lies in the cache and not where temporary files do, which may be memory. Raises
    `StorageError` where it cannot be made.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix=f"{doing}-", dir=store)
    except OSError as error:
        raise storage_error(error, store, 0) from error
    with work as folder:
        yield Path(folder)
