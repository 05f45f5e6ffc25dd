"""Yield a variant's file chunk by chunk, each verified, reading ahead of whoever uses them."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlr.bundle.integrity import wrong_chunk
from mlr.bundle.manifest import Shard, Variant
from mlr.errors import BundleError, IntegrityError
from mlr.hosts.base import Host

if TYPE_CHECKING:
    from mlr.bundle.transfer import Transfer

__all__ = ["stream_chunks"]

# Chunks read and hashed while the one before is used. Hashing is the slowest step; hashlib
# gives up the interpreter lock, so the chunks are hashed on as many cores as there are.
READ_AHEAD = 4


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk: its shard, its number and place in it, and its offset in the whole file."""

    path: Path
    shard: Shard
    index: int
    inside: int
    size: int
    offset: int


def _pieces(variant: Variant, start: int, paths: list[Path]) -> Iterator[_Piece]:
    """The chunks from the one that holds `start` on."""
    base = 0
    for shard, path in zip(variant.shards, paths, strict=True):
        if base + shard.size > start:
            first = max(start - base, 0) // variant.chunk_size
            for index in range(first, len(shard.chunks)):
                inside = index * variant.chunk_size
                size = min(variant.chunk_size, shard.size - inside)
                yield _Piece(path, shard, index, inside, size, base + inside)
        base += shard.size


async def stream_chunks(
    host: Host, variant: Variant, start: int, paths: list[Path], transfer: Transfer | None
) -> AsyncGenerator[tuple[int, memoryview], None]:
    """Yield (offset, bytes) for each chunk; the bytes are valid until the next is asked for.

    `paths` are the shards' files. With a `transfer` a shard is waited for before it is read, and
    fetched again when the file is wrong; without one a wrong file is an error.
    """
    free = [memoryview(bytearray(variant.chunk_size)) for _ in range(READ_AHEAD + 1)]
    pending: deque[tuple[_Piece, memoryview, asyncio.Task[None]]] = deque()
    pieces = _pieces(variant, start, paths)
    piece = next(pieces, None)
    try:
        while piece or pending:
            while piece and free:
                view = free.pop()[: piece.size]
                task = asyncio.create_task(_fill(host, piece, view, transfer))
                pending.append((piece, view, task))
                piece = next(pieces, None)
            current, view, task = pending.popleft()
            await task
            yield current.offset, view
            free.append(memoryview(view.obj))
    finally:
        for _, _, task in pending:
            task.cancel()
        await asyncio.gather(*(task for _, _, task in pending), return_exceptions=True)


async def _fill(host: Host, piece: _Piece, view: memoryview, transfer: Transfer | None) -> None:
    """Read a chunk into `view` and verify it."""
    if transfer is None:
        await host.run(_read_chunk, piece, view)
        return
    seen = await transfer.ready(piece.shard.sha256)
    try:
        await host.run(_read_chunk, piece, view)
    except BundleError:
        await transfer.repair(piece.shard.sha256, seen)
        await host.run(_read_chunk, piece, view)


def _read_chunk(piece: _Piece, view: memoryview) -> None:
    try:
        with piece.path.open("rb", buffering=0) as file:
            file.seek(piece.inside)
            filled = 0
            while filled < piece.size and (count := file.readinto(view[filled:])):
                filled += count
    except FileNotFoundError as error:
        raise BundleError(
            f"{piece.path}: this shard is missing; copy or download the bundle again"
        ) from error
    except OSError as error:
        raise BundleError(f"{piece.path}: cannot be read: {error}") from error
    if filled < piece.size:
        raise IntegrityError(
            f"{piece.path}: ends at byte {piece.inside + filled}, the manifest says that it has "
            f"{piece.shard.size}; copy or download the bundle again"
        )
    found, expected = hashlib.sha256(view).hexdigest(), piece.shard.chunks[piece.index]
    if found != expected:
        raise wrong_chunk(str(piece.path), piece.index, piece.size, found, expected)
