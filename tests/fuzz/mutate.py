"""Random damage to bytes, of the kinds that break readers of binary formats."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

__all__ = ["INTERESTING", "mutate"]

# Sizes and counts that overflow, wrap around, or lie just beyond a limit.
INTERESTING = (
    0, 1, 2, 3, 7, 8, 31, 32, 33, 127, 128, 255, 256, 4095, 65535, 65536, 2**24, 2**31 - 1, 2**31,
    2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1,
)  # fmt: skip


def mutate(data: bytes, random: random.Random, limit: int | None = None) -> bytes:
    """A copy with one to eight random changes, within the first `limit` bytes (default: all)."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4, 8))):
        random.choice(_CHANGES)(changed, min(limit or len(changed), len(changed)), random)
    return bytes(changed)


def _flip(data: bytearray, end: int, random: random.Random) -> None:
    if end:
        data[random.randrange(end)] ^= 1 << random.randrange(8)


def _number(data: bytearray, end: int, random: random.Random) -> None:
    size, code = random.choice(((1, "<B"), (2, "<H"), (4, "<I"), (8, "<Q")))
    if end >= size:
        value = random.choice(INTERESTING) & (1 << 8 * size) - 1
        struct.pack_into(code, data, random.randrange(end - size + 1), value)


def _double(data: bytearray, end: int, random: random.Random) -> None:
    values = (float("nan"), float("inf"), -1.0, 0.5, 1e308, -0.0, float(random.choice(INTERESTING)))
    if end >= 8:
        struct.pack_into("<d", data, 8 * random.randrange(end // 8), random.choice(values))


def _copy(data: bytearray, end: int, random: random.Random) -> None:
    """One piece over another: lengths, types and names change places."""
    size = random.choice((4, 8, 16, 64))
    if end >= size:
        source, target = random.randrange(end - size + 1), random.randrange(end - size + 1)
        data[target : target + size] = data[source : source + size]


def _remove(data: bytearray, end: int, random: random.Random) -> None:
    start = random.randrange(end + 1)
    del data[start : start + random.choice((1, 4, 8, 100))]


def _insert(data: bytearray, end: int, random: random.Random) -> None:
    start = random.randrange(end + 1)
    data[start:start] = random.randbytes(random.choice((1, 4, 8, 100)))


def _cut(data: bytearray, end: int, random: random.Random) -> None:
    del data[random.randrange(end + 1) :]


_CHANGES: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    _flip, _flip, _number, _number, _number, _double, _copy, _copy, _remove, _insert, _cut,
)  # fmt: skip
