"""Write a GGUF file: metadata, then tensors one after the other, as they come."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from mlr.formats.ggml_types import TYPES, row_bytes

__all__ = ["TensorToWrite", "write_gguf"]

_MAGIC, _VERSION, _ALIGNMENT = b"GGUF", 3, 32
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


class _Blocks(Protocol):
    def __call__(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class TensorToWrite:
    """A tensor of a type of `ggml_types`, its shape rows first, and its bytes in pieces."""

    name: str
    type: str
    shape: tuple[int, ...]
    blocks: _Blocks

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        rows = 1
        for length in self.shape[:-1]:
            rows *= length
        return rows * row_bytes(TYPES[self.type], self.shape[-1])


def write_gguf(path: Path, metadata: Mapping[str, Any], tensors: Sequence[TensorToWrite]) -> None:
    """Write the file. Raises `ValueError` when a tensor does not give the bytes that it has."""
    with path.open("wb") as file:
        file.write(_MAGIC + struct.pack("<IQQ", _VERSION, len(tensors), len(metadata)))
        for key, value in metadata.items():
            file.write(_string(key) + _value(value))
        offset = 0
        for tensor in tensors:
            shape = tensor.shape[::-1]  # columns first
            file.write(_string(tensor.name) + struct.pack("<I", len(shape)))
            file.write(struct.pack(f"<{len(shape)}Q", *shape))
            file.write(struct.pack("<IQ", TYPES[tensor.type].id, offset))
            offset += _padded(tensor.size)
        file.write(bytes(_padded(file.tell()) - file.tell()))
        for tensor in tensors:
            _write_tensor(file, tensor)


def _write_tensor(file: BinaryIO, tensor: TensorToWrite) -> None:
    start = file.tell()
    for block in tensor.blocks():
        file.write(block)
    written = file.tell() - start
    if written != tensor.size:
        raise ValueError(f"{tensor.name} has {tensor.size} bytes, and {written} came")
    file.write(bytes(_padded(written) - written))


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    """The type of a value and the value: bool, int, float, text, or a list of one of these."""
    if isinstance(value, list):
        kind = _kind(value[0])
        items = b"".join(_plain(item, kind) for item in value)
        return struct.pack("<IIQ", _ARRAY, kind, len(value)) + items
    kind = _kind(value)
    return struct.pack("<I", kind) + _plain(value, kind)


def _kind(value: Any) -> int:
    if isinstance(value, bool):
        return _BOOL
    if isinstance(value, int):
        return _INT32 if value < 0 else _UINT32
    return _FLOAT32 if isinstance(value, float) else _STRING


def _plain(value: Any, kind: int) -> bytes:
    if kind == _STRING:
        return _string(value)
    return struct.pack({_BOOL: "<?", _UINT32: "<I", _INT32: "<i", _FLOAT32: "<f"}[kind], value)
