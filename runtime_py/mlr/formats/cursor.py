"""Read little-endian binary data from front to back, every length checked before it is used."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from mlr.errors import FormatError
from mlr.formats.source import ByteSource

__all__ = ["Cursor"]

WINDOW = 1 << 20  # bytes read at once


class Cursor:
    """A position in the source and a window of bytes around it."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.file = source.name
        self.data = b""
        self.base = 0  # the offset of data[0] in the file
        self.pos = 0  # the current place in `data`

    @property
    def offset(self) -> int:
        """The current place in the file."""
        return self.base + self.pos

    @property
    def remaining(self) -> int:
        """How many bytes of the file are left."""
        return self.source.size - self.offset

    def fail(self, field: str, problem: str, offset: int | None = None) -> FormatError:
        return FormatError(self.file, field, self.offset if offset is None else offset, problem)

    def need(self, count: int, field: str) -> None:
        """Make `count` bytes from the current place on available in the window."""
        if self.pos + count <= len(self.data):
            return
        if count > self.remaining:
            raise self.fail(
                field,
                f"{count} bytes are needed but the file has {self.remaining} left: "
                "it is truncated or corrupted",
            )
        offset = self.offset
        try:
            data = self.source.read_at(offset, min(max(count, WINDOW), self.remaining))
        except FormatError as error:
            raise FormatError(self.file, field, error.offset, error.problem) from error
        self.data, self.base, self.pos = data, offset, 0

    def take(self, count: int, field: str) -> bytes:
        """The next `count` bytes."""
        self.need(count, field)
        data = self.data[self.pos : self.pos + count]
        self.pos += count
        return data

    def scalar(self, code: str, size: int, field: str) -> Any:
        """The next little-endian number."""
        self.need(size, field)
        (value,) = struct.unpack_from("<" + code, self.data, self.pos)
        self.pos += size
        return value

    def uint32(self, field: str) -> int:
        return int(self.scalar("I", 4, field))

    def count(self, field: str, limit: int, item_bytes: int) -> int:
        """A 64-bit count of things that take at least `item_bytes` each in what is left."""
        offset = self.offset
        value = int(self.scalar("Q", 8, field))
        if value > limit:
            raise self.fail(field, f"{value} is over the limit of {limit}", offset)
        if value * item_bytes > self.remaining:
            raise self.fail(
                field,
                f"{value} needs at least {value * item_bytes} bytes but the file has "
                f"{self.remaining} left: it is truncated or corrupted",
                offset,
            )
        return value

    def string(self, field: str, limit: int) -> str:
        """A string: its length in bytes as 64 bits, then UTF-8."""
        offset = self.offset
        length = self.count(f"{field} (length)", limit, 1)
        try:
            return str(self.take(length, field), "utf-8")
        except UnicodeDecodeError as error:
            raise self.fail(field, f"is not UTF-8: {error.reason}", offset + 8) from error

    def strings(self, field: str, count: int, limit: int) -> list[str]:
        """`count` strings of at most `limit` bytes; kept free of calls, for vocabularies."""
        result: list[str] = []
        append = result.append
        length_at: Callable[[bytes, int], tuple[Any, ...]] = struct.Struct("<Q").unpack_from
        while len(result) < count:
            data, pos, end = self.data, self.pos, len(self.data)
            last = end - 8
            try:
                for _ in range(count - len(result)):
                    if pos > last:
                        break
                    stop = pos + 8 + length_at(data, pos)[0]
                    if stop > end:
                        break
                    append(str(data[pos + 8 : stop], "utf-8"))
                    pos = stop
            except UnicodeDecodeError as error:
                raise self.fail(
                    f"{field}[{len(result)}]", f"is not UTF-8: {error.reason}", self.base + pos + 8
                ) from error
            self.pos = pos
            if len(result) < count:  # the next string crosses the window's end: read it slowly
                append(self.string(f"{field}[{len(result)}]", limit))
        return result
