"""Every length, count and type attacked; then chance: flipped bytes and cut files."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlr.errors import FormatError, UnsupportedModelError
from mlr.formats.gguf import GgufFile, read_gguf
from mlr.formats.source import BytesSource
from tests.unit.formats.attacks.hostile import attacks, small_gguf

VALID = bytes(small_gguf().data)
ATTACKS = dict(attacks())


def read(data: bytes) -> GgufFile | None:
    """The parse, or None for an error that a reader may raise. Anything else fails the test."""
    error: FormatError | UnsupportedModelError | None = None
    try:
        found = read_gguf(BytesSource(data, "attacked.gguf"))
    except (FormatError, UnsupportedModelError) as raised:
        error = raised
    if error is not None:
        assert "attacked.gguf: " in str(error)
        assert not isinstance(error, FormatError) or 0 <= error.offset <= len(data)
        return None
    for tensor in found.tensors:
        assert found.data_offset <= tensor.offset
        assert tensor.offset + tensor.size <= len(data)
    return found


@pytest.mark.parametrize("title", ATTACKS)
def test_an_attacked_field_is_refused_or_harmless(title: str) -> None:
    tracemalloc.start()
    try:
        found = read(ATTACKS[title])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20, "memory was taken on the word of a hostile length"
    # A small number may leave a valid file (one tensor less, another type); a large one cannot.
    if int(title.rpartition(" = ")[2]) >= 2**31 - 1:
        assert found is None


def test_every_truncation() -> None:
    for length in range(len(VALID)):
        assert read(VALID[:length]) is None, length


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=8))
def test_flipped_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(VALID)
    for place, value in changes:
        data[place] = value
    read(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(VALID)), st.binary(max_size=64), st.integers(0, 64))
def test_cut_and_spliced_files(place: int, inserted: bytes, removed: int) -> None:
    read(VALID[:place] + inserted + VALID[place + removed :])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_after_the_magic(data: bytes) -> None:
    read(b"GGUF\3\0\0\0" + data)


def test_many_random_flips() -> None:
    """Cheap and wide, with a fixed seed: the same files on every run."""
    chance = random.Random(1)
    for _ in range(3000):
        data = bytearray(VALID)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        read(bytes(data))
