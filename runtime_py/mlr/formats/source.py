"""Where the bytes of a model file come from: a file, memory, or several parts in a row."""

from __future__ import annotations

import bisect
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from mlr.errors import FormatError

__all__ = ["ByteSource", "BytesSource", "FileSource", "JoinedSource", "check_range"]


class ByteSource(Protocol):
    """Bytes that can be read from any offset without loading the rest."""

    @property
    def name(self) -> str:
        """What to call the source in messages."""
        ...

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset` on; raises `FormatError` when they are not there."""
        ...


def check_range(source: ByteSource, offset: int, size: int) -> None:
    """Raise `FormatError` unless `size` bytes from `offset` on lie within the source."""
    if offset < 0 or size < 0 or offset + size > source.size:
        raise FormatError(
            source.name,
            "data",
            max(offset, 0),
            f"{size} bytes are needed but the file ends at {source.size}; it may be truncated",
        )


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self.name = name
        self.size = len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset` on."""
        check_range(self, offset, size)
        return self._data[offset : offset + size]


class FileSource:
    """A file on disk, opened once. Safe to use from several threads; close it when done."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file; raises `FormatError` when there is no regular file that can be read."""
        self.path = Path(path)
        self.name = str(path)
        try:
            if not self.path.is_file():
                raise FormatError(
                    self.name, "file", 0, "there is no such regular file; check the path"
                )
            self._file = self.path.open("rb", buffering=0)
            self.size = os.fstat(self._file.fileno()).st_size
        except (OSError, ValueError) as error:
            raise FormatError(self.name, "file", 0, f"cannot be opened: {error}") from error
        self._lock = threading.Lock()

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset` on."""
        check_range(self, offset, size)
        parts, wanted = [], size
        try:
            with self._lock:
                self._file.seek(offset)
                while wanted and (part := self._file.read(wanted)):
                    parts.append(part)
                    wanted -= len(part)
        except (OSError, ValueError) as error:
            raise FormatError(self.name, "data", offset, f"cannot be read: {error}") from error
        if wanted:
            raise FormatError(
                self.name, "data", offset, f"the file became shorter: {wanted} bytes are missing"
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class JoinedSource:
    """Several sources read as one, in the given order."""

    def __init__(self, parts: Sequence[ByteSource], name: str) -> None:
        self.name = name
        self._parts = list(parts)
        self._starts: list[int] = []  # the offset of each part in the whole
        self.size = 0
        for part in self._parts:
            self._starts.append(self.size)
            self.size += part.size

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset` on, across the parts' borders."""
        check_range(self, offset, size)
        pieces: list[bytes] = []
        index = bisect.bisect_right(self._starts, offset) - 1
        while size:
            part, inside = self._parts[index], offset - self._starts[index]
            count = min(size, part.size - inside)
            if count:
                pieces.append(part.read_at(inside, count))
            offset, size, index = offset + count, size - count, index + 1
        return b"".join(pieces)
