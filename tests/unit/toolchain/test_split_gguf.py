"""Split GGUF files: joined, they are what gguf's own reader takes for the model before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from mlr.errors import FormatError, RequestError
from mlr.formats.gguf import read_gguf
from mlr.formats.source import BytesSource, FileSource
from mlr_build.package import package
from mlr_build.progress import Progress
from mlr_build.sources import open_source
from tests.join_shards import main as join_shards
from tests.support.gguf_copy import add_metadata
from tests.support.kernels import last_logits, open_kernel
from tests.unit.toolchain.conftest import Command

Edit = Callable[[dict[str, Any]], None]


def split(model: Path, folder: Path, *, tensors: int = 9) -> list[Path]:
    """`model` as parts of `tensors` tensors each, by gguf's writer."""
    reader = gguf.GGUFReader(model)
    folder.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(folder / "tiny.gguf", "llama", split_max_tensors=tensors)
    add_metadata(writer, reader)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("*.gguf"))


def rewrite(part: Path, edit: Edit) -> None:
    """Write a part again with other metadata: `edit` changes {key: (value, type)}."""
    reader = gguf.GGUFReader(part)
    values = {
        key: (field.contents(), field.types[0], field.types[-1])
        for key, field in reader.fields.items()
        if not key.startswith("GGUF.")
    }
    edit(values)
    writer = gguf.GGUFWriter(part.with_suffix(".new"), "")
    writer.kv_data[0].clear()
    for key, (value, kind, sub) in values.items():
        sub_type = sub if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, kind, sub_type=sub_type)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.with_suffix(".new").replace(part)


def joined(source: Path, progress: Progress) -> bytes:
    with open_source(str(source), progress) as opened:
        return opened.source.read_at(0, opened.source.size)


def test_the_joined_parts_are_the_model_to_gguf_too(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    parts = split(model, tmp_path / "parts")
    assert len(parts) == 3
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(joined(parts[0], progress))
    before, after = gguf.GGUFReader(model), gguf.GGUFReader(whole)

    def metadata(reader: gguf.GGUFReader) -> dict[str, Any]:
        fields = reader.fields.items()
        return {key: field.contents() for key, field in fields if not key.startswith("GGUF.")}

    assert metadata(after) == metadata(before)
    assert [t.name for t in after.tensors] == [t.name for t in before.tensors]
    for ours, theirs in zip(after.tensors, before.tensors, strict=True):
        assert (ours.tensor_type, list(ours.shape)) == (theirs.tensor_type, list(theirs.shape))
        assert np.array_equal(ours.data, theirs.data)
        assert ours.data_offset % 32 == 0


@pytest.mark.parametrize("tensors", [1, 2, 5, 100])
def test_any_number_of_parts(model: Path, tmp_path: Path, progress: Progress, tensors: int) -> None:
    """gguf splits nothing that fits one part, and then there is nothing to join."""
    parts = split(model, tmp_path / "parts", tensors=tensors)
    file = read_gguf(BytesSource(joined(parts[0], progress), "joined"))
    assert [tensor.name for tensor in file.tensors] == [
        tensor.name for tensor in gguf.GGUFReader(model).tensors
    ]


def test_first_part_another_part_and_folder_are_the_same(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    parts = split(model, tmp_path / "parts")
    assert joined(parts[0], progress) == joined(parts[2], progress)
    assert joined(parts[0], progress) == joined(tmp_path / "parts", progress)


def test_a_first_part_without_tensors(model: Path, tmp_path: Path, progress: Progress) -> None:
    """As llama-gguf-split --no-tensor-first-split writes it."""
    parts = split(model, tmp_path / "parts", tensors=100)
    only = parts[0]
    values = gguf.GGUFReader(only)
    count = len(values.tensors)
    number = gguf.GGUFValueType.UINT16

    def part(index: int, tensors: bool) -> None:
        path = only.with_name(f"x-{index + 1:05}-of-00002.gguf")
        shutil.copy(only, path)

        def edit(metadata: dict[str, Any]) -> None:
            if tensors:
                metadata.clear()
            metadata["split.no"] = (index, number, number)
            metadata["split.count"] = (2, number, number)
            total = gguf.GGUFValueType.INT32
            metadata["split.tensors.count"] = (count, total, total)

        rewrite(path, edit)

    part(0, tensors=False)
    part(1, tensors=True)
    only.unlink()
    first = tmp_path / "parts" / "x-00001-of-00002.gguf"
    with FileSource(first) as source:
        header = read_gguf(source)
    data = bytearray(first.read_bytes()[: header.data_offset])
    data[8:16] = (0).to_bytes(8, "little")
    # The tensors' descriptions begin where the last key ends.
    first.write_bytes(data[: max(end for _, end in header.key_ranges.values())])
    file = read_gguf(BytesSource(joined(first, progress), "joined"))
    assert len(file.tensors) == count


def test_packaged_and_run_to_the_same_logits(
    model: Path, tmp_path: Path, progress: Progress, mlr_build: Command
) -> None:
    parts = split(model, tmp_path / "parts")
    bundle = tmp_path / "bundle"
    with open_source(str(parts[0]), progress) as opened:
        manifest = package(opened, bundle, progress).manifest
    assert manifest.origin.source == "tiny-00001-of-00003.gguf"
    join_shards(bundle, tmp_path / "joined.gguf")
    logits = []
    for path in (model, tmp_path / "joined.gguf"):
        with open_kernel(path) as engine:
            engine.evaluate([1, 5, 9])
            logits.append(last_logits(engine).tobytes())
    assert logits[0] == logits[1]
    inspected = mlr_build("inspect", parts[0], "--json")
    assert inspected.returncode == 0, inspected.stderr
    report = json.loads(inspected.stdout)
    assert report["tensors"]["count"] == len(gguf.GGUFReader(model).tensors)
    assert report["problem"] is None


def number_of(key: str, value: int) -> Edit:
    def edit(metadata: dict[str, Any]) -> None:
        metadata[key] = (value, *metadata[key][1:])

    return edit


def without(key: str) -> Edit:
    return lambda metadata: metadata.pop(key)


def other_name(metadata: dict[str, Any]) -> None:
    text = gguf.GGUFValueType.STRING
    metadata["general.name"] = ("another model", text, text)


@pytest.mark.parametrize(
    ("part", "edit", "message"),
    [
        (1, number_of("split.no", 2), "split.no at byte .*must be 1 in part 2 of 3, is 2"),
        (0, number_of("split.count", 4), "split.count at byte .*must be 3 in part 1 of 3, is 4"),
        (2, without("split.count"), "split.count at byte 0.*must be 3 in part 3 of 3, is None"),
        (0, without("split.tensors.count"), "not a part of a split model"),
        (1, number_of("split.tensors.count", 7), r"split.tensors.count .*must be \d+ in part 2"),
        (2, other_name, "general.name at byte .*the parts belong to different models"),
    ],
)
def test_parts_that_disagree_are_refused(
    model: Path, tmp_path: Path, progress: Progress, part: int, edit: Edit, message: str
) -> None:
    parts = split(model, tmp_path / "parts")
    rewrite(parts[part], edit)
    with pytest.raises(FormatError, match=message):
        joined(parts[0], progress)


def test_a_wrong_number_of_tensors_is_refused(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    parts = split(model, tmp_path / "parts")
    for part in parts:
        rewrite(part, number_of("split.tensors.count", 99))
    with pytest.raises(FormatError, match="says 99, but the parts have"):
        joined(parts[0], progress)


def test_a_part_that_is_there_twice_is_refused(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    parts = split(model, tmp_path / "parts")
    shutil.copy(parts[0], parts[1])
    with pytest.raises(FormatError, match="must be 1 in part 2 of 3, is 0"):
        joined(parts[0], progress)
    rewrite(parts[1], number_of("split.no", 1))
    with pytest.raises(FormatError, match=r"this tensor is in .*00001-of-00003\.gguf, too"):
        joined(parts[0], progress)


def test_missing_parts_are_named(model: Path, tmp_path: Path, progress: Progress) -> None:
    parts = split(model, tmp_path / "parts")
    parts[1].unlink()
    for source in (parts[0], tmp_path / "parts"):
        with pytest.raises(RequestError, match=r"one of 3 parts.*1 are not.*tiny-00002-of-00003"):
            joined(source, progress)


def test_a_truncated_part_is_refused(model: Path, tmp_path: Path, progress: Progress) -> None:
    parts = split(model, tmp_path / "parts")
    parts[1].write_bytes(parts[1].read_bytes()[:-100])
    with pytest.raises(FormatError, match="truncated"):
        joined(parts[0], progress)


def test_two_models_in_a_folder_are_still_two(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    split(model, tmp_path / "parts")
    shutil.copy(model, tmp_path / "parts" / "other.gguf")
    with pytest.raises(RequestError, match="several models"):
        joined(tmp_path / "parts", progress)


def test_too_many_parts_are_refused(model: Path, tmp_path: Path, progress: Progress) -> None:
    path = tmp_path / "x-00001-of-99999.gguf"
    shutil.copy(model, path)
    with pytest.raises(RequestError, match="99999 parts is not supported"):
        joined(path, progress)
