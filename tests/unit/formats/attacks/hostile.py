"""Make GGUF files byte by byte, so that every length, count and type in them can be wrong.

`python -m tests.unit.formats.attacks.hostile FOLDER` writes the attacks as files, to try other
readers on.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ATTACK_VALUES", "Field", "HostileGguf", "attacks", "small_gguf"]

UINT8, UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 0, 4, 6, 7, 8, 9, 10
ALIGNMENT = 32


@dataclass(frozen=True)
class Field:
    """A number in the file that says how long or of what kind something is."""

    name: str
    offset: int
    size: int


@dataclass
class HostileGguf:
    """A GGUF file in the making. Every number that a reader must distrust is in `fields`."""

    data: bytearray = field(default_factory=bytearray)
    fields: list[Field] = field(default_factory=list)

    def number(self, name: str, value: int, size: int) -> None:
        self.fields.append(Field(name, len(self.data), size))
        self.data += value.to_bytes(size, "little")

    def string(self, name: str, value: bytes) -> None:
        self.number(f"{name} length", len(value), 8)
        self.data += value

    def key(self, name: str, kind: int) -> None:
        self.string(f"key {name}", name.encode())
        self.number(f"{name} type", kind, 4)

    def array(self, name: str, kind: int, count: int) -> None:
        self.number(f"{name} element type", kind, 4)
        self.number(f"{name} count", count, 8)

    def tensor(self, name: str, shape: tuple[int, ...], kind: int, offset: int) -> None:
        """`shape` in the file's order: columns first."""
        self.string(f"tensor {name}", name.encode())
        self.number(f"{name} dimensions", len(shape), 4)
        for index, length in enumerate(shape):
            self.number(f"{name} shape {index}", length, 8)
        self.number(f"{name} type", kind, 4)
        self.number(f"{name} offset", offset, 8)

    def pad(self) -> None:
        self.data += bytes(-len(self.data) % ALIGNMENT)

    def with_value(self, attacked: Field, value: int) -> bytes:
        """The file with another value in one field."""
        data = bytearray(self.data)
        data[attacked.offset : attacked.offset + attacked.size] = value.to_bytes(
            attacked.size, "little"
        )
        return bytes(data)


def small_gguf(version: int = 3) -> HostileGguf:
    """A valid file with every kind of value and two tensors."""
    made = HostileGguf()
    made.data += b"GGUF"
    made.number("version", version, 4)
    made.number("tensor count", 2, 8)
    made.number("metadata count", 8, 8)
    made.key("general.architecture", STRING)
    made.string("general.architecture value", b"llama")
    made.key("general.alignment", UINT32)
    made.number("general.alignment value", ALIGNMENT, 4)
    made.key("a.flag", BOOL)
    made.number("a.flag value", 1, 1)
    made.key("a.float", FLOAT32)
    made.data += struct.pack("<f", 0.5)
    made.key("a.large", UINT64)
    made.data += struct.pack("<Q", 2**63 + 1)
    made.key("some.numbers", ARRAY)
    made.array("some.numbers", FLOAT32, 3)
    made.data += struct.pack("<3f", 1.0, -2.0, 0.25)
    made.key("some.tokens", ARRAY)
    made.array("some.tokens", STRING, 3)
    for token in ("a", "", "▁né"):
        made.string(f"some.tokens {token!r}", token.encode())
    made.key("some.nested", ARRAY)
    made.array("some.nested", ARRAY, 2)
    for index in range(2):
        made.array(f"some.nested {index}", UINT8, 2)
        made.data += bytes([index, 7])
    made.tensor("first.weight", (32, 2), 8, 0)  # Q8_0: 2 rows of 34 bytes
    made.tensor("second.weight", (8,), 0, 96)  # F32
    made.pad()
    made.data += bytes(range(68))
    made.pad()
    made.data += struct.pack("<8f", *range(8))
    return made


ATTACK_VALUES = (0, 1, 2, 5, 0x7F, 0xFF, 2**31 - 1, 2**31, 2**32 - 1, 2**61, 2**63 - 1, 2**64 - 1)


def attacks() -> Iterator[tuple[str, bytes]]:
    """Every field with every value that fits it, and with one more and one less."""
    made = small_gguf()
    for attacked in made.fields:
        old = int.from_bytes(made.data[attacked.offset : attacked.offset + attacked.size], "little")
        values: set[Any] = {old - 1, old + 1, old ^ 0x80, *ATTACK_VALUES}
        for value in sorted(values):
            if 0 <= value < 1 << (8 * attacked.size) and value != old:
                yield f"{attacked.name} = {value}", made.with_value(attacked, value)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, (title, data) in enumerate(attacks()):
        (folder / f"{number:04d}.gguf").write_bytes(data)
        print(f"{number:04d}.gguf: {title}")
