"""Read the header of a GGUF file (versions 2 and 3): metadata and where each tensor lies.

Only header bytes are read, a window at a time. Everything in the file is taken for hostile:
each length is checked against the limits below and against what is left of the file before
anything is allocated, and sums are Python integers, which do not overflow.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass, field
from typing import Any

from mlr.errors import FormatError, UnsupportedModelError
from mlr.formats.cursor import Cursor
from mlr.formats.ggml_types import TYPES_BY_ID, row_bytes
from mlr.formats.source import ByteSource

__all__ = ["GgufFile", "GgufTensor", "read_gguf"]

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32

MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 16
MAX_KEY_BYTES = (1 << 16) - 1  # the format's own limit
MAX_STRING_BYTES = 1 << 24
MAX_ARRAY_LENGTH = 1 << 22  # a vocabulary has less than 2^19 tokens
MAX_VALUES = 1 << 24  # elements of all arrays together
MAX_NESTING = 4  # arrays in arrays
MAX_DIMENSIONS = 4
MAX_TENSOR_NAME_BYTES = 64
MAX_ALIGNMENT = 1 << 20

# GGUF value type: struct code and bytes. 8 is a string, 9 an array.
_SCALARS: dict[int, tuple[str, int]] = {
    0: ("B", 1),
    1: ("b", 1),
    2: ("H", 2),
    3: ("h", 2),
    4: ("I", 4),
    5: ("i", 4),
    6: ("f", 4),
    7: ("B", 1),
    10: ("Q", 8),
    11: ("q", 8),
    12: ("d", 8),
}
_UINT32, _BOOL, _STRING, _ARRAY = 4, 7, 8, 9

# Types that were taken out of the format, which old files still name.
_REMOVED_TYPES = {4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8"}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor: its type's name, its shape as (…, rows, columns), and its bytes in the file."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int  # from the start of the file
    size: int

    @property
    def elements(self) -> int:
        """How many numbers the tensor holds."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@dataclass(frozen=True)
class GgufFile:
    """What the header says. Metadata are Python numbers, booleans, strings and lists."""

    name: str
    version: int
    metadata: dict[str, Any]
    tensors: tuple[GgufTensor, ...]
    alignment: int
    data_offset: int  # where tensor data begin, from the start of the file
    size: int
    offsets: dict[str, int] = field(repr=False)  # where each key and tensor is described
    key_ranges: dict[str, tuple[int, int]] = field(repr=False)  # the bytes of each key and value

    def locate(self, error: FormatError) -> FormatError:
        """The error with the offset of the key or tensor that it names."""
        return FormatError(
            error.file, error.field, self.offsets.get(error.field, error.offset), error.problem
        )


class _MetadataReader:
    """Reads values; counts array elements over the whole file."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.values_left = MAX_VALUES

    def value(self, kind: int, field: str, depth: int = 0) -> Any:
        """A value of GGUF value type `kind`."""
        cursor = self.cursor
        if kind == _STRING:
            return cursor.string(field, MAX_STRING_BYTES)
        if kind == _ARRAY:
            return self.array(field, depth)
        if kind not in _SCALARS:
            raise cursor.fail(field, f"value type {kind} does not exist; types are 0 to 12")
        code, size = _SCALARS[kind]
        offset = cursor.offset
        value = cursor.scalar(code, size, field)
        if kind == _BOOL:
            if value > 1:
                raise cursor.fail(field, f"a boolean must be 0 or 1, got {value}", offset)
            return value == 1
        return value

    def array(self, field: str, depth: int) -> list[Any]:
        """An array: the type of its elements, their number, and they themselves."""
        cursor = self.cursor
        offset = cursor.offset
        if depth >= MAX_NESTING:
            raise cursor.fail(field, f"arrays are nested deeper than {MAX_NESTING}")
        kind = cursor.uint32(f"{field} (element type)")
        if kind not in _SCALARS and kind not in (_STRING, _ARRAY):
            raise cursor.fail(
                f"{field} (element type)", f"type {kind} does not exist; types are 0 to 12", offset
            )
        item_bytes = 8 if kind == _STRING else 12 if kind == _ARRAY else _SCALARS[kind][1]
        count = cursor.count(f"{field} (length)", MAX_ARRAY_LENGTH, item_bytes)
        self.values_left -= count
        if self.values_left < 0:
            raise cursor.fail(
                f"{field} (length)",
                f"the file's arrays have more than {MAX_VALUES} elements together",
                offset + 4,
            )
        if kind == _STRING:
            return cursor.strings(field, count, MAX_STRING_BYTES)
        if kind == _ARRAY:
            return [self.array(f"{field}[{i}]", depth + 1) for i in range(count)]
        code, size = _SCALARS[kind]
        start = cursor.offset
        numbers = list(struct.unpack(f"<{count}{code}", cursor.take(count * size, field)))
        if kind == _BOOL:
            if numbers and max(numbers) > 1:
                raise cursor.fail(field, "a boolean must be 0 or 1", start)
            return [number == 1 for number in numbers]
        return numbers


def read_gguf(source: ByteSource) -> GgufFile:
    """Read and check the header of a GGUF file.

    Raises `FormatError` with the file, the field and the offset for anything that breaks the
    format, and `UnsupportedModelError` for a version or tensor type that is known and not read.
    """
    cursor = Cursor(source)
    version = _read_version(cursor)
    n_tensors = cursor.count("tensor count", MAX_TENSORS, 8 + 4 + 8 + 4 + 8)
    n_keys = cursor.count("metadata count", MAX_KEYS, 8 + 4 + 1)
    metadata: dict[str, Any] = {}
    offsets: dict[str, int] = {}
    key_ranges: dict[str, tuple[int, int]] = {}
    reader = _MetadataReader(cursor)
    alignment = DEFAULT_ALIGNMENT
    for index in range(n_keys):
        start = cursor.offset
        key = cursor.string(f"metadata key {index}", MAX_KEY_BYTES)
        if not key or key in metadata:
            raise cursor.fail(
                f"metadata key {index}",
                f"{key!r:.80} is {'there twice' if key else 'empty'}",
                start,
            )
        kind_offset = cursor.offset
        kind = cursor.uint32(f"{key:.80} (value type)")
        if kind not in _SCALARS and kind not in (_STRING, _ARRAY):
            raise cursor.fail(
                f"{key:.80} (value type)",
                f"type {kind} does not exist; types are 0 to 12",
                kind_offset,
            )
        offsets[key] = cursor.offset
        metadata[key] = reader.value(kind, key[:80])
        key_ranges[key] = (start, cursor.offset)
        if key == "general.alignment":
            alignment = _check_alignment(cursor, kind, metadata[key], offsets[key])
    entries = _read_tensor_entries(cursor, n_tensors, alignment, offsets)
    data_offset = -(-cursor.offset // alignment) * alignment
    tensors = _place_tensors(cursor, entries, data_offset)
    return GgufFile(
        name=source.name,
        version=version,
        metadata=metadata,
        tensors=tensors,
        alignment=alignment,
        data_offset=data_offset,
        size=source.size,
        offsets=offsets,
        key_ranges=key_ranges,
    )


def _read_version(cursor: Cursor) -> int:
    magic = cursor.take(4, "magic")
    if magic != MAGIC:
        raise cursor.fail("magic", f"must be {MAGIC!r}, got {magic!r}: not a GGUF file", 0)
    version = cursor.uint32("version")
    if version in (2, 3):
        return version
    swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
    if swapped in (1, 2, 3):
        raise UnsupportedModelError(
            f"{cursor.file}: version at byte 4: this is a big-endian GGUF file, which is not "
            "supported; convert it to little-endian (gguf-convert-endian FILE little)"
        )
    if version == 1:
        raise UnsupportedModelError(
            f"{cursor.file}: version at byte 4: GGUF version 1 is not supported; "
            "convert the model again with a current llama.cpp, which writes version 3"
        )
    raise cursor.fail("version", f"{version} is not known; versions 2 and 3 can be read", 4)


def _check_alignment(cursor: Cursor, kind: int, value: Any, offset: int) -> int:
    if (
        kind != _UINT32
        or not 8 <= value <= MAX_ALIGNMENT
        or value & (value - 1)  # not a power of two
    ):
        raise cursor.fail(
            "general.alignment",
            f"must be a 32-bit power of two between 8 and {MAX_ALIGNMENT}, got {value!r:.40}",
            offset,
        )
    return int(value)


def _read_tensor_entries(
    cursor: Cursor, count: int, alignment: int, offsets: dict[str, int]
) -> list[tuple[GgufTensor, int]]:
    """The tensors with offsets still relative to the data, and where each offset was read."""
    entries: list[tuple[GgufTensor, int]] = []
    names: set[str] = set()
    for index in range(count):
        start = cursor.offset
        name = cursor.string(f"tensor name {index}", MAX_TENSOR_NAME_BYTES)
        if not name or name in names:
            raise cursor.fail(
                f"tensor name {index}", f"{name!r} is {'there twice' if name else 'empty'}", start
            )
        names.add(name)
        offsets[name] = start
        place = cursor.offset
        n_dims = cursor.uint32(f"{name} (dimensions)")
        if not 1 <= n_dims <= MAX_DIMENSIONS:
            raise cursor.fail(
                f"{name} (dimensions)", f"must be 1 to {MAX_DIMENSIONS}, got {n_dims}", place
            )
        place = cursor.offset
        shape = struct.unpack(f"<{n_dims}Q", cursor.take(8 * n_dims, f"{name} (shape)"))[::-1]
        if 0 in shape:
            raise cursor.fail(f"{name} (shape)", f"a dimension of {list(shape)} is 0", place)
        kind_place = cursor.offset
        kind_id = cursor.uint32(f"{name} (type)")
        kind = TYPES_BY_ID.get(kind_id)
        if kind is None:
            known = _REMOVED_TYPES.get(kind_id)
            what = f"{known} (removed from the format)" if known else f"number {kind_id}"
            raise UnsupportedModelError(
                f"{cursor.file}: {name} (type) at byte {kind_place}: tensor type {what} is not "
                "supported; quantize the model again, for example to Q4_K_M"
            )
        place = cursor.offset
        offset = int(cursor.scalar("Q", 8, f"{name} (offset)"))
        if offset % alignment:
            raise cursor.fail(
                f"{name} (offset)",
                f"{offset} is not a multiple of the alignment {alignment}",
                place,
            )
        rows = 1
        for length in shape[:-1]:
            rows *= length
        try:
            size = rows * row_bytes(kind, shape[-1])
        except ValueError as error:
            raise cursor.fail(f"{name} (shape)", str(error), kind_place - 8 * n_dims) from error
        entries.append((GgufTensor(name, kind.name, shape, offset, size), place))
    return entries


def _place_tensors(
    cursor: Cursor, entries: list[tuple[GgufTensor, int]], data_offset: int
) -> tuple[GgufTensor, ...]:
    """The tensors with offsets in the file, checked to lie inside it and not to overlap."""
    size = cursor.source.size
    placed: list[GgufTensor] = []
    for tensor, place in entries:
        start = data_offset + tensor.offset
        if start + tensor.size > size:
            raise cursor.fail(
                f"{tensor.name} (offset)",
                f"{tensor.size} bytes at {start} end after the file's {size}: "
                "it is truncated or corrupted",
                place,
            )
        placed.append(GgufTensor(tensor.name, tensor.type, tensor.shape, start, tensor.size))
    order = sorted(range(len(placed)), key=lambda i: placed[i].offset)
    for before, after in itertools.pairwise(order):
        if placed[before].offset + placed[before].size > placed[after].offset:
            raise cursor.fail(
                f"{placed[after].name} (offset)",
                f"overlaps {placed[before].name}",
                entries[after][1],
            )
    return tuple(placed)
