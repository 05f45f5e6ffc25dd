"""The safetensors reader: what it reads, and that nothing hostile gets past it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlr.errors import FormatError
from mlr.formats.safetensors import DTYPE_BYTES, SafetensorsFile, read_safetensors
from mlr.formats.source import BytesSource, FileSource
from tests.support.tiny_bert import write_safetensors


def made(header: Any, data: bytes = b"") -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data


def read(data: bytes) -> SafetensorsFile:
    return read_safetensors(BytesSource(data, "m.safetensors"))


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


VALID = made(
    {
        "__metadata__": {"format": "pt"},
        "a": entry(),
        "b": entry("BF16", [2, 3], [8, 20]),
        "none": entry("F16", [0, 4], [8, 8]),
        "one": entry("I64", [], [20, 28]),
    },
    bytes(28),
)


def test_reads_what_is_there() -> None:
    found = read(VALID)
    assert found.metadata == {"format": "pt"}
    start = len(VALID) - 28
    assert [(t.name, t.dtype, t.shape, t.offset - start, t.size) for t in found.tensors] == [
        ("a", "F32", (2,), 0, 8),
        ("none", "F16", (0, 4), 8, 0),
        ("b", "BF16", (2, 3), 8, 12),
        ("one", "I64", (), 20, 8),
    ]


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(st.sampled_from(sorted(DTYPE_BYTES)), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    )
)
def test_any_layout_is_read_back(wanted: dict[str, tuple[str, list[int]]]) -> None:
    header, place = {}, 0
    for name, (dtype, shape) in wanted.items():
        size = int(np.prod(shape, dtype=int)) * DTYPE_BYTES[dtype]
        header[name] = entry(dtype, shape, [place, place + size])
        place += size
    found = read(made(header, bytes(place)))
    assert {t.name: (t.dtype, list(t.shape)) for t in found.tensors} == wanted


def test_a_file_as_the_library_writes_it(tmp_path: Path) -> None:
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    write_safetensors(tmp_path / "m.safetensors", {"w": ("F32", values)}, format="np")
    with FileSource(tmp_path / "m.safetensors") as source:
        (tensor,) = read_safetensors(source).tensors
        data = source.read_at(tensor.offset, tensor.size)
    assert np.array_equal(np.frombuffer(data, "<f4").reshape(tensor.shape), values)


HUGE = 2**63
ATTACKS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "shorter than 8"),
    "only a length": (bytes(8), "header length"),
    "a header longer than the file": (HUGE.to_bytes(8, "little") + b"{}", "header length"),
    "a header over the limit": ((10**8 + 1).to_bytes(8, "little") + b"{}", "header length"),
    "not an object": (made(b"[]"), "does not begin with"),
    "not JSON": (made(b"{nope"), "not valid JSON"),
    "not UTF-8": (made(b'{"\xff": 1}'), "not valid JSON"),
    "endless nesting": (made(b'{"a":' * 50_000 + b"1" + b"}" * 50_000), "nested|not valid"),
    "a number of many digits": (made(b'{"a": ' + b"9" * 10_000 + b"}"), "not valid JSON"),
    "a name twice": (
        made(b'{"a": 1, "a": 2}'),
        "there twice",
    ),
    "a field twice": (made(b'{"a": {"dtype": "F32", "dtype": "F16"}}'), "there twice"),
    "metadata that is no texts": (made({"__metadata__": {"a": 1}}), "must map texts"),
    "an entry that is no object": (made({"a": 5}), "must have dtype"),
    "a field too many": (made({"a": {**entry(), "more": 1}}, bytes(8)), "nothing else"),
    "an unknown dtype": (made({"a": entry("F128")}, bytes(8)), "unknown dtype"),
    "a dtype that is no text": (made({"a": entry(7)}, bytes(8)), "unknown dtype"),  # type: ignore[arg-type]
    "a negative length": (made({"a": entry(shape=[-2])}, bytes(8)), "whole numbers"),
    "a length that is true": (made({"a": entry(shape=[True])}, bytes(8)), "whole numbers"),
    "a broken length": (made({"a": entry(shape=[2.0])}, bytes(8)), "not a whole number"),
    "NaN": (made(b'{"a": NaN}'), "not a whole number"),
    "lengths that overflow": (made({"a": entry(shape=[2**32, 2**32])}, bytes(8)), "more elements"),
    "too many dimensions": (made({"a": entry(shape=[1] * 9)}, bytes(8)), "at most 8"),
    "ends before it begins": (made({"a": entry(offsets=[8, 0])}, bytes(8)), "data_offsets"),
    "a size that is wrong": (made({"a": entry(shape=[3])}, bytes(8)), "takes 12 bytes"),
    "beyond the file": (made({"a": entry()}, bytes(7)), "truncated"),
    "a hole at the beginning": (made({"a": entry(offsets=[4, 12])}, bytes(12)), "leaves a hole"),
    "a hole": (made({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)), "leaves a hole"),
    "an overlap": (made({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)), "overlaps"),
    "the same bytes twice": (made({"a": entry(), "b": entry()}, bytes(8)), "overlaps"),
    "bytes at the end": (made({"a": entry()}, bytes(9)), "belong to no tensor"),
    "a name that is empty": (made({"": entry()}, bytes(8)), "1 to 1024"),
}


@pytest.mark.parametrize("title", ATTACKS)
def test_attacks_are_refused(title: str) -> None:
    data, reason = ATTACKS[title]
    with pytest.raises(FormatError, match=reason):
        read(data)


def test_every_truncation_is_refused() -> None:
    for length in range(len(VALID)):
        with pytest.raises(FormatError):
            read(VALID[:length])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6))
def test_changed_bytes_give_a_file_or_a_format_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(VALID)
    for place, value in changes:
        data[place] = value
    try:
        found = read(bytes(data))
    except FormatError:
        return
    assert sum(tensor.size for tensor in found.tensors) <= len(data)
    assert all(tensor.offset + tensor.size <= len(data) for tensor in found.tensors)
