from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import pytest

from mlr.errors import FormatError, UnsupportedModelError
from mlr.formats.gguf import read_gguf
from mlr.formats.source import BytesSource, FileSource
from tests.support.tiny_models import tiny_gguf
from tests.unit.formats.attacks.hostile import ARRAY, STRING, HostileGguf, small_gguf


class CountingSource(BytesSource):
    """Remembers what was read; fails the read with number `fail_at`."""

    def __init__(self, data: bytes, fail_at: int = -1) -> None:
        super().__init__(data, "counted.gguf")
        self.reads: list[tuple[int, int]] = []
        self.fail_at = fail_at

    def read_at(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, size))
        if len(self.reads) - 1 == self.fail_at:
            raise FormatError(self.name, "data", offset, "cannot be read: injected")
        return super().read_at(offset, size)


@pytest.mark.parametrize("version", [2, 3])
def test_every_kind_of_value(version: int) -> None:
    made = small_gguf(version)
    found = read_gguf(BytesSource(bytes(made.data), "small.gguf"))
    assert found.version == version
    assert found.metadata == {
        "general.architecture": "llama",
        "general.alignment": 32,
        "a.flag": True,
        "a.float": 0.5,
        "a.large": 2**63 + 1,
        "some.numbers": [1.0, -2.0, 0.25],
        "some.tokens": ["a", "", "▁né"],
        "some.nested": [[0, 7], [1, 7]],
    }
    first, second = found.tensors
    assert (first.type, first.shape, first.size, first.elements) == ("Q8_0", (2, 32), 68, 64)
    assert (second.type, second.shape, second.size) == ("F32", (8,), 32)
    assert made.data[second.offset :] == struct.pack("<8f", *range(8))
    assert second.offset == found.data_offset + 96
    for name, offset in found.offsets.items():
        assert 0 < offset < found.data_offset, name


def assert_agrees_with_the_gguf_package(path: Path) -> None:
    theirs = gguf.GGUFReader(path)
    with FileSource(path) as source:
        ours = read_gguf(source)
    assert ours.data_offset == theirs.data_offset
    assert ours.alignment == theirs.alignment
    keys = [key for key in theirs.fields if not key.startswith("GGUF.")]
    assert list(ours.metadata) == keys
    for key in keys:
        assert ours.metadata[key] == theirs.fields[key].contents(), key
    assert len(ours.tensors) == len(theirs.tensors)
    for tensor, other in zip(ours.tensors, theirs.tensors, strict=True):
        assert (tensor.name, tensor.type) == (other.name, other.tensor_type.name)
        assert tensor.shape == tuple(reversed([int(length) for length in other.shape]))
        assert (tensor.offset, tensor.size) == (other.data_offset, other.n_bytes)
        assert tensor.elements == other.n_elements


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "qwen2", "qwen3"])
def test_tiny_models_read_as_the_gguf_package_reads_them(tmp_path: Path, architecture: str) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf", architecture=architecture, quantization="MIXED")
    assert_agrees_with_the_gguf_package(path)


@pytest.mark.demo_model
def test_the_demo_model_reads_as_the_gguf_package_reads_it(demo_gguf: Path) -> None:
    assert_agrees_with_the_gguf_package(demo_gguf)


@pytest.mark.parametrize("alignment", [8, 64, 4096])
def test_other_alignments(tmp_path: Path, alignment: int) -> None:
    import numpy as np

    writer = gguf.GGUFWriter(tmp_path / "aligned.gguf", "llama")
    writer.add_custom_alignment(alignment)
    for name in ("a", "b"):
        writer.add_tensor(name, np.ones(3, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert_agrees_with_the_gguf_package(tmp_path / "aligned.gguf")


def test_only_the_header_is_read(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf")
    data = path.read_bytes()
    big = data + bytes(8 << 20)
    source = CountingSource(big)
    found = read_gguf(source)
    assert found.size == len(big)
    assert sum(size for _, size in source.reads) <= 1 << 20


def many_strings(count: int, length: int) -> bytes:
    made = HostileGguf()
    made.data += b"GGUF"
    made.number("version", 3, 4)
    made.number("tensors", 0, 8)
    made.number("keys", 1, 8)
    made.key("tokens", ARRAY)
    made.array("tokens", STRING, count)
    for index in range(count):
        made.string("token", f"{index:0{length}d}".encode())
    return bytes(made.data)


@pytest.mark.parametrize("length", [1, 100, 1013])
def test_strings_across_the_borders_of_windows(length: int) -> None:
    """More than one window of strings, so that one lies across each border."""
    count = (2 << 20) // (length + 8) + 10
    tokens = read_gguf(BytesSource(many_strings(count, length), "many")).metadata["tokens"]
    assert tokens == [f"{index:0{length}d}" for index in range(count)]


def test_a_string_longer_than_a_window() -> None:
    tokens = read_gguf(BytesSource(many_strings(3, 3 << 20), "long")).metadata["tokens"]
    assert [len(token) for token in tokens] == [3 << 20] * 3


def test_every_read_failing_in_turn() -> None:
    data = many_strings(30_000, 100)  # several windows
    whole = CountingSource(data)
    expected = read_gguf(whole).metadata
    assert len(whole.reads) > 2
    for number in range(len(whole.reads)):
        with pytest.raises(FormatError, match="injected"):
            read_gguf(CountingSource(data, fail_at=number))
    assert read_gguf(CountingSource(data)).metadata == expected


def test_an_error_is_moved_to_where_the_key_is() -> None:
    found = read_gguf(BytesSource(bytes(small_gguf().data), "small.gguf"))
    error = found.locate(FormatError("small.gguf", "a.float", 0, "is odd"))
    assert error.offset == found.offsets["a.float"] > 0
    assert str(error) == f"small.gguf: a.float at byte {error.offset}: is odd"
    assert found.locate(FormatError("f", "unheard.of", 7, "p")).offset == 7


@pytest.mark.parametrize(
    ("head", "error", "message"),
    [
        (b"", FormatError, "magic at byte 0"),
        (b"GGU", FormatError, "magic at byte 0: 4 bytes are needed but the file has 3 left"),
        (b"GGML\3\0\0\0" + bytes(20), FormatError, "magic at byte 0: must be b'GGUF'"),
        (b"GGUF\1\0\0\0" + bytes(20), UnsupportedModelError, "version 1 is not supported"),
        (b"GGUF\0\0\0\3" + bytes(20), UnsupportedModelError, "big-endian"),
        (b"GGUF\4\0\0\0" + bytes(20), FormatError, "version at byte 4: 4 is not known"),
        (b"GGUF\3\0\0\0" + bytes(15), FormatError, "metadata count at byte 16"),
    ],
)
def test_the_first_bytes(head: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_gguf(BytesSource(head, "broken.gguf"))


def test_an_empty_model_is_valid() -> None:
    data = b"GGUF\3\0\0\0" + bytes(16)
    found = read_gguf(BytesSource(data, "empty.gguf"))
    assert (found.metadata, found.tensors) == ({}, ())


def metadata_only(*entries: tuple[str, int, bytes]) -> bytes:
    made = HostileGguf()
    made.data += b"GGUF"
    made.number("version", 3, 4)
    made.number("tensors", 0, 8)
    made.number("keys", len(entries), 8)
    for name, kind, value in entries:
        made.key(name, kind)
        made.data += value
    return bytes(made.data)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def nested(depth: int) -> bytes:
    value = struct.pack("<IQ", 0, 1) + b"\1"
    for _ in range(depth):
        value = struct.pack("<IQ", 9, 1) + value
    return value


@pytest.mark.parametrize(
    ("entries", "field", "offset"),
    [
        ([("k", 0, b"\1"), ("k", 0, b"\2")], "metadata key 1", 38),
        ([("", 0, b"\1")], "metadata key 0", 24),
        ([("k", 13, b"\1")], r"k \(value type\)", 33),
        ([("k", 7, b"\2")], "k", 37),
        ([("k", 8, text(b"\xff\xfe"))], "k", 45),
        ([("k", 8, struct.pack("<Q", 2**40))], r"k \(length\)", 37),
        ([("k", 9, struct.pack("<IQ", 13, 1))], r"k \(element type\)", 37),
        ([("k", 9, struct.pack("<IQ", 0, 2**30))], r"k \(length\)", 41),
        ([("k", 9, struct.pack("<IQ", 8, 1) + text(b"\x80"))], r"k\[0\]", 57),
        ([("k", 9, struct.pack("<IQ", 7, 2) + b"\1\2")], "k", 49),
        ([("k", 9, nested(4))], r"k\[0\]\[0\]\[0\]\[0\]", 85),
        ([("general.alignment", 4, struct.pack("<I", 24))], "general.alignment", 53),
        ([("general.alignment", 4, struct.pack("<I", 0))], "general.alignment", 53),
        ([("general.alignment", 4, struct.pack("<I", 2**31))], "general.alignment", 53),
        ([("general.alignment", 5, struct.pack("<i", -32))], "general.alignment", 53),
    ],
)
def test_broken_metadata_names_the_field_and_the_offset(
    entries: list[tuple[str, int, bytes]], field: str, offset: int
) -> None:
    with pytest.raises(FormatError, match=f"^bad.gguf: {field} at byte {offset}: "):
        read_gguf(BytesSource(metadata_only(*entries), "bad.gguf"))


def test_arrays_nested_as_deep_as_allowed() -> None:
    found = read_gguf(BytesSource(metadata_only(("k", 9, nested(3))), "deep.gguf"))
    assert found.metadata["k"] == [[[[1]]]]


def test_all_arrays_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlr.formats.gguf.MAX_VALUES", 5)
    value = struct.pack("<IQ", 0, 3) + b"abc"
    with pytest.raises(FormatError, match="more than 5 elements together"):
        read_gguf(BytesSource(metadata_only(("a", 9, value), ("b", 9, value)), "bad.gguf"))


def tensors_only(*tensors: tuple[str, tuple[int, ...], int, int], data: int = 4096) -> bytes:
    made = HostileGguf()
    made.data += b"GGUF"
    made.number("version", 3, 4)
    made.number("tensors", len(tensors), 8)
    made.number("keys", 0, 8)
    for tensor in tensors:
        made.tensor(*tensor)
    made.pad()
    return bytes(made.data) + bytes(data)


HUGE = 2**62


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([("t", (4,), 0, 0), ("t", (4,), 0, 32)], "tensor name 1 at byte 57: 't' is there twice"),
        ([("", (4,), 0, 0)], "tensor name 0 at byte 24: '' is empty"),
        ([("n" * 65, (4,), 0, 0)], r"tensor name 0 \(length\) at byte 24: 65 is over the limit"),
        ([("t", (), 0, 0)], r"t \(dimensions\) at byte 33: must be 1 to 4, got 0"),
        ([("t", (1,) * 5, 0, 0)], r"t \(dimensions\) at byte 33: must be 1 to 4, got 5"),
        ([("t", (4, 0), 0, 0)], r"t \(shape\) at byte 37: a dimension of \[0, 4\] is 0"),
        ([("t", (33,), 8, 0)], r"t \(shape\) at byte 37: 33 columns are not whole blocks of 32"),
        ([("t", (4,), 0, 16)], r"t \(offset\) at byte 49: 16 is not a multiple of the alignment"),
        ([("t", (4,), 0, 4096)], r"t \(offset\) at byte 49: 16 bytes at .* end after the file's"),
        ([("t", (HUGE, 4, 4, 4), 0, 0)], r"t \(offset\) at byte 73: \d+ bytes at .* truncated"),
        ([("t", (HUGE,) * 4, 0, 0)], r"t \(offset\) at byte 73: \d+ bytes at .* truncated"),
        ([("t", (4,), 0, 2**63)], r"t \(offset\) at byte 49: 16 bytes at .* end after"),
        ([("a", (9,), 0, 0), ("b", (4,), 0, 32)], r"b \(offset\) at byte 82: overlaps a"),
        ([("a", (4,), 0, 32), ("b", (9,), 0, 0)], r"a \(offset\) at byte 49: overlaps b"),
    ],
)
def test_broken_tensors(tensors: list[Any], message: str) -> None:
    with pytest.raises(FormatError, match=f"^bad.gguf: {message}"):
        read_gguf(BytesSource(tensors_only(*tensors), "bad.gguf"))


@pytest.mark.parametrize(
    ("kind", "name"), [(4, "Q4_2"), (31, "Q4_0_4_4"), (99, "number 99"), (2**32 - 1, "number")]
)
def test_tensor_types_that_are_not_read(kind: int, name: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"t \(type\) at byte 45: .*{name}"):
        read_gguf(BytesSource(tensors_only(("t", (4,), kind, 0)), "bad.gguf"))
