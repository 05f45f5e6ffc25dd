"""Copy a bundle's files, verified, into something that is going to serve them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlr.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    Shard,
)
from mlr.bundle.manifest_reader import parse_manifest
from mlr.errors import BundleError, IntegrityError
from mlr_build.progress import Advance

__all__ = ["bundle_size", "copy_bundle", "copy_files", "read_bundle", "small_files"]

_PIECE = 1 << 20  # bytes read at a time


def read_bundle(folder: Path) -> Manifest:
    """The manifest of the bundle in a folder. Raises `BundleError` or `ManifestError`."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise BundleError(
            f"{folder}: is not a bundle, it has no {MANIFEST_NAME}; make one with mlr-build package"
        )
    with path.open("rb") as file:
        return parse_manifest(file.read(MAX_MANIFEST_BYTES + 1), str(path))


def small_files(manifest: Manifest) -> list[FileEntry]:
    """The files that a manifest names, besides the shards."""
    optional = (manifest.tokenizer_json, manifest.chat_template)
    entries = [manifest.tokenizer, *optional, *manifest.files]
    return [entry for entry in entries if entry is not None]


def _shards(manifest: Manifest) -> Iterator[Shard]:
    for variant in manifest.variants:
        yield from variant.shards


def bundle_size(manifest: Manifest) -> int:
    """Bytes of the files that a manifest names."""
    small = sum(entry.size for entry in small_files(manifest))
    return small + sum(shard.size for shard in _shards(manifest))


def copy_bundle(folder: Path, manifest: Manifest, target: Path, advance: Advance) -> None:
    """Copy what the manifest names, and the manifest, into the new folder `target`.

    Raises `BundleError` for a file that is missing and `IntegrityError` for one that is not what
    the manifest says.
    """
    copy_files(folder, [*small_files(manifest), *_shards(manifest)], target, advance)
    (target / MANIFEST_NAME).write_bytes(manifest.encode())


def copy_files(
    folder: Path, entries: Sequence[FileEntry | Shard], target: Path, advance: Advance
) -> None:
    """Copy some of a bundle's files into the new folder `target`. Raises as `copy_bundle` does."""
    target.mkdir(parents=True)
    for entry in entries:
        _copy(folder / entry.file, target / entry.file, entry.size, entry.sha256, advance)


def _copy(source: Path, target: Path, size: int, sha256: str, advance: Advance) -> None:
    if not source.is_file():
        raise BundleError(f"{source}: this file of the bundle is missing; get the bundle again")
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, copied = hashlib.sha256(), 0
    with source.open("rb") as incoming, target.open("wb") as outgoing:
        while copied <= size and (data := incoming.read(_PIECE)):
            digest.update(data)
            outgoing.write(data)
            copied += len(data)
            advance(len(data))
    if copied != size or digest.hexdigest() != sha256:
        raise IntegrityError(
            f"{source}: is not the file that the manifest describes ({size} bytes, SHA-256 "
            f"{sha256}): it is corrupted or was changed; get the bundle again"
        )
