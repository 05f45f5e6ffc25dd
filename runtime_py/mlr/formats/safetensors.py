"""Read the header of a safetensors file: a length, JSON that names tensors, and their bytes.

Everything is checked before it is used: the header's length before it is read, shapes and sizes
as exact integers before anything is allocated, and that the tensors fill the file without holes
and without overlapping.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from mlr.errors import FormatError
from mlr.formats.source import ByteSource

__all__ = ["DTYPE_BYTES", "SafetensorsFile", "SafetensorsTensor", "read_safetensors"]

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
MAX_TENSORS = 1 << 17
MAX_DIMENSIONS = 8
MAX_NAME = 1024
MAX_ELEMENTS = 1 << 62

DTYPE_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


@dataclass(frozen=True, slots=True)
class SafetensorsTensor:
    """A tensor: rows-first shape, and where its little-endian bytes are in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """What the header says. `tensors` are in the order of their bytes."""

    name: str
    metadata: dict[str, str]
    tensors: tuple[SafetensorsTensor, ...]


def read_safetensors(source: ByteSource) -> SafetensorsFile:
    """Read and check the header. Raises `FormatError`."""
    if source.size < 8:
        raise FormatError(source.name, "header", 0, "the file is shorter than 8 bytes")
    length = int.from_bytes(source.read_at(0, 8), "little")
    if not 2 <= length <= min(source.size - 8, MAX_HEADER_BYTES):
        raise FormatError(
            source.name,
            "header length",
            0,
            f"is {length}; the file has {source.size} bytes, and a header at most "
            f"{MAX_HEADER_BYTES}",
        )
    reader = _Header(source.name, 8 + length, source.size)
    return reader.read(source.read_at(8, length))


class _Header:
    def __init__(self, file: str, data_start: int, data_end: int) -> None:
        self._file, self._start, self._end = file, data_start, data_end

    def _error(self, field: str, problem: str) -> FormatError:
        return FormatError(self._file, field[:100], 8, problem)

    def read(self, data: bytes) -> SafetensorsFile:
        if data[:1] != b"{":
            raise self._error("header", "does not begin with {")
        value = self._json(data)
        metadata = self._metadata(value.pop("__metadata__", {}))
        if len(value) > MAX_TENSORS:
            raise self._error("header", f"has {len(value)} tensors, more than {MAX_TENSORS}")
        tensors = [self._tensor(name, entry) for name, entry in value.items()]
        # Empty tensors come before one that begins at the same place.
        tensors.sort(key=lambda tensor: (tensor.offset, tensor.size))
        self._check_layout(tensors)
        return SafetensorsFile(self._file, metadata, tuple(tensors))

    def _json(self, data: bytes) -> dict[str, Any]:
        def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            result = dict(pairs)
            if len(result) != len(pairs):
                raise ValueError("a key is there twice in one object")
            return result

        def refuse(name: str) -> NoReturn:
            raise ValueError(f"{name:.20} is not a whole number")

        try:
            value = json.loads(
                data.decode("utf-8"),
                object_pairs_hook=unique,
                parse_constant=refuse,
                parse_float=refuse,
            )
        except RecursionError:
            raise self._error("header", "is nested too deeply") from None
        except ValueError as error:
            raise self._error("header", f"is not valid JSON: {error}") from error
        assert isinstance(value, dict)  # it begins with {
        return value

    def _metadata(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise self._error("__metadata__", "must map texts to texts")
        return value

    def _tensor(self, name: str, entry: Any) -> SafetensorsTensor:
        if not name or len(name) > MAX_NAME:
            raise self._error(name, f"a tensor's name must have 1 to {MAX_NAME} characters")
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise self._error(name, "must have dtype, shape and data_offsets, and nothing else")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
            raise self._error(name, f"has the unknown dtype {dtype!r:.40}")
        if not _whole_numbers(shape) or len(shape) > MAX_DIMENSIONS:
            raise self._error(name, f"shape must be at most {MAX_DIMENSIONS} whole numbers")
        if not _whole_numbers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            raise self._error(name, "data_offsets must be a beginning and an end")
        elements = 1
        for length in shape:
            elements *= length
            if elements > MAX_ELEMENTS:
                raise self._error(name, "has more elements than any file holds")
        begin, end = offsets
        size = elements * DTYPE_BYTES[dtype]
        if end - begin != size:
            raise self._error(
                name, f"{shape} of {dtype} takes {size} bytes, but data_offsets say {end - begin}"
            )
        if end > self._end - self._start:
            raise self._error(name, "ends after the file; it may be truncated")
        return SafetensorsTensor(name, dtype, tuple(shape), self._start + begin, size)

    def _check_layout(self, tensors: list[SafetensorsTensor]) -> None:
        place = self._start
        for tensor in tensors:
            if tensor.offset != place:
                what = "overlaps what lies before it" if tensor.offset < place else "leaves a hole"
                raise self._error(tensor.name, f"{what}: begins at {tensor.offset}, not {place}")
            place += tensor.size
        if place != self._end:
            raise self._error("header", f"{self._end - place} bytes at the end belong to no tensor")


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
