"""Hold bytes to the sizes and hashes of the manifest."""

from __future__ import annotations

import hashlib

from mlr.bundle.manifest import FileEntry
from mlr.errors import IntegrityError

__all__ = ["check_file", "wrong_chunk"]


def wrong_chunk(place: str, index: int, size: int, found: str, expected: str) -> IntegrityError:
    """An `IntegrityError` about a chunk, with both hashes."""
    return IntegrityError(
        f"{place}: chunk {index} ({size} bytes) has the SHA-256 {found}, the manifest says "
        f"{expected}: the data are corrupted or were changed; get the bundle again"
    )


def check_file(data: bytes, entry: FileEntry, place: str) -> None:
    """Raise `IntegrityError` unless `data` are the bytes of a small file."""
    if len(data) != entry.size:
        # of a file that is too large no more is read than it takes to see that
        size = "more than" if len(data) > entry.size else f"{len(data)} bytes instead of"
        raise IntegrityError(
            f"{place}: has {size} the {entry.size} bytes that the manifest says; "
            "get the bundle again"
        )
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise IntegrityError(
            f"{place}: has the SHA-256 {found}, the manifest says {entry.sha256}: it is "
            "corrupted or was changed; get the bundle again"
        )
