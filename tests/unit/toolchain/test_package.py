from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import gguf
import pytest

from mlr.bundle.manifest import Manifest, SpecialToken, SpecialTokens
from mlr.bundle.manifest_reader import parse_manifest
from mlr.errors import (
    FormatError,
    IntegrityError,
    LoadError,
    RequestError,
    TokenizerError,
    UnsupportedModelError,
)
from mlr.formats.detect import PACKAGEABLE
from mlr.formats.gguf import read_gguf
from mlr.formats.source import BytesSource, FileSource
from mlr.tokenizer import load_tokenizer
from mlr.tokenizer.packed import read_packed
from mlr_build.licenses import LicenseText
from mlr_build.package import package
from mlr_build.progress import Progress
from mlr_build.sources import OpenedSource, open_source
from tests.support.gguf_copy import add_metadata
from tests.support.tiny_models import tiny_gguf


def make(source: Path, out: Path, progress: Progress, **options: Any) -> Manifest:
    with open_source(str(source), progress) as opened:
        return package(opened, out, progress, **options).manifest


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_shards_in_a_row_are_the_source(model: Path, tmp_path: Path, progress: Progress) -> None:
    manifest = make(model, tmp_path / "bundle", progress, shard_size=1 << 18)
    (variant,) = manifest.variants
    data = b"".join((tmp_path / "bundle" / shard.file).read_bytes() for shard in variant.shards)
    assert data == model.read_bytes()
    assert variant.sha256 == manifest.origin.sha256 == sha256(data)
    assert variant.chunk_size == 1 << 18
    for shard in variant.shards:
        content = (tmp_path / "bundle" / shard.file).read_bytes()
        assert (shard.size, shard.sha256) == (len(content), sha256(content))
    assert len(variant.shards) > 1
    text = (tmp_path / "bundle" / "manifest.json").read_bytes()
    assert parse_manifest(text, "manifest.json") == manifest
    assert left_behind(tmp_path) == ["bundle"]


@pytest.mark.parametrize(
    ("shard_size", "chunk_size"),
    [(1 << 16, 1 << 16), (3 << 16, 1 << 16), (3 << 20, 1 << 20), (8 << 20, 1 << 20)],
)
def test_chunks_divide_shards(
    model: Path, tmp_path: Path, progress: Progress, shard_size: int, chunk_size: int
) -> None:
    manifest = make(model, tmp_path / "bundle", progress, shard_size=shard_size)
    variant = manifest.variants[0]
    assert variant.chunk_size == chunk_size
    data = model.read_bytes()
    hashes = [sha256(data[at : at + chunk_size]) for at in range(0, len(data), chunk_size)]
    assert [chunk for shard in variant.shards for chunk in shard.chunks] == hashes


@pytest.mark.parametrize("shard_size", [0, 1, 1 << 15, (1 << 16) + 1, 1 << 31, -(1 << 16)])
def test_shard_sizes_that_cannot_be(
    model: Path, tmp_path: Path, progress: Progress, shard_size: int
) -> None:
    with pytest.raises(RequestError, match="must be a multiple of 64 KiB between"):
        make(model, tmp_path / "bundle", progress, shard_size=shard_size)


def test_the_same_source_gives_the_same_bundle(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    make(model, tmp_path / "first", progress)
    make(model, tmp_path / "second", progress)
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")


def test_the_tokenizer_file_holds_the_tokenizer(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    manifest = make(model, tmp_path / "bundle", progress)
    data = (tmp_path / "bundle" / "tokenizer.bin").read_bytes()
    assert (manifest.tokenizer.size, manifest.tokenizer.sha256) == (len(data), sha256(data))
    assert manifest.tokenizer.format == "packed"
    with FileSource(model) as source:
        metadata = read_gguf(source).metadata
    found = read_packed(data)
    prefix = "tokenizer.ggml."
    assert set(found) == {key for key in metadata if key.startswith(prefix)}
    assert list(found[prefix + "tokens"].texts()) == metadata[prefix + "tokens"]
    assert list(found[prefix + "token_type"]) == metadata[prefix + "token_type"]
    scores, places = metadata[prefix + "scores"], list(found[prefix + "scores"])
    assert sorted({*places}) == [min(places) + place for place in range(len({*scores}))]
    by_score = sorted(range(len(scores)), key=lambda token_id: scores[token_id])
    assert by_score == sorted(range(len(scores)), key=lambda token_id: places[token_id])
    assert found[prefix + "model"] == "llama"
    tokenizer = load_tokenizer("packed", data)
    assert tokenizer.decode(tokenizer.encode("the end")).strip() == "the end"


def test_what_clients_in_javascript_need_of_the_tokenizer(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    manifest = make(model, tmp_path / "bundle", progress)
    entry = manifest.tokenizer_json
    assert entry is not None
    data = (tmp_path / "bundle" / entry.file).read_bytes()
    assert (entry.size, entry.sha256) == (len(data), sha256(data))
    content = json.loads(data)
    assert content["model"]["type"] == "BPE"
    assert set(content["model"]).isdisjoint({"vocab", "merges"})
    assert manifest.special_tokens == SpecialTokens(
        bos=SpecialToken(1, "<s>"),
        eos=SpecialToken(2, "</s>"),
        unk=SpecialToken(0, "<unk>"),
        pad=None,
        ends=(2,),
        before=(1,),
        after=(),
    )


def test_a_tokenizer_that_has_no_tokenizer_json(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    source = rewrite(model, tmp_path / "m.gguf", tokenizer__ggml__model="t5")
    with open_source(str(source), progress) as opened:
        result = package(opened, tmp_path / "bundle", progress)
    assert result.manifest.tokenizer_json is None
    assert result.notes == (
        "Clients in JavaScript do not read this tokenizer: tokenizers of the kind 't5' are not "
        "converted.",
    )


def rewrite(source: Path, target: Path, **changes: Any) -> Path:
    """A copy of a GGUF file with other metadata: a value, or None to leave the key out.

    A key's dots are written as two underscores.
    """
    wanted = {key.replace("__", "."): value for key, value in changes.items()}
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture" or key in wanted:
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), kind, sub_type=sub_type)
    for key, value in wanted.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif value is not None:
            writer.add_array(key, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def test_chat_template_name_and_licence_come_from_the_metadata(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    source = rewrite(
        model,
        tmp_path / "m.gguf",
        tokenizer__chat_template="{{ messages[0].content }} é",
        general__name="My Model: 7B (Chat)",
        general__license="apache-2.0",
    )
    manifest = make(source, tmp_path / "bundle", progress)
    assert manifest.name == "my-model-7b-chat"
    assert manifest.chat_template is not None
    template = (tmp_path / "bundle" / manifest.chat_template.file).read_text("utf-8")
    assert template == "{{ messages[0].content }} é"
    assert manifest.license.id == "apache-2.0"
    assert "Apache License" in manifest.license.notice
    assert manifest.license.url == "https://www.apache.org/licenses/LICENSE-2.0"


def test_a_name_that_is_given_and_one_from_the_file(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    assert make(model, tmp_path / "a", progress, name="My Own").name == "my-own"
    source = rewrite(model, tmp_path / "Some File.gguf", general__name=None)
    assert make(source, tmp_path / "b", progress).name == "some-file"
    source = rewrite(model, tmp_path / "ü.gguf", general__name="Ünï")
    assert make(source, tmp_path / "c", progress).name == "n"


def test_licence_files_of_a_folder_come_along(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "weights.gguf").write_bytes(model.read_bytes())
    (folder / "LICENSE.txt").write_text("do as you like")
    (folder / "Use_Policy.md").write_text("but be kind")
    (folder / "notes.txt").write_text("not this")
    manifest = make(folder, tmp_path / "bundle", progress)
    assert manifest.license.files == ("licenses/LICENSE.txt", "licenses/Use_Policy.md")
    assert (tmp_path / "bundle/licenses/Use_Policy.md").read_text() == "but be kind"
    assert manifest.license.id == "unknown"
    assert manifest.origin.source == "weights.gguf"


def test_licence_files_of_the_same_name_both_come_along(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    texts = tuple(LicenseText("NOTICE", data) for data in (b"one", b"two", b"one"))
    with FileSource(model) as source:
        opened = OpenedSource(source, "x", "x", licenses=texts)
        manifest = package(opened, tmp_path / "bundle", progress).manifest
    contents = [(tmp_path / "bundle" / name).read_bytes() for name in manifest.license.files]
    assert sorted(contents) == [b"one", b"two"]


def refusal(source: Path, tmp_path: Path, progress: Progress) -> LoadError:
    """The error of packaging, which must leave nothing behind and copy nothing before."""
    out = tmp_path / "out" / "bundle"
    with pytest.raises(LoadError) as caught:
        make(source, out, progress)
    assert not out.parent.exists(), "something was written before the model was refused"
    return caught.value


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"llama__block_count": None}, FormatError, "llama.block_count"),
        ({"llama__block_count": 3}, FormatError, "blk.2.attn_norm.weight at byte"),
        ({"llama__block_count": 1}, UnsupportedModelError, "tensor 'blk.1.attn_norm.weight'"),
        ({"llama__embedding_length": 128}, FormatError, "must have the shape"),
        ({"llama__expert_count": 8}, FormatError, "n_experts_used"),
        (
            {"llama__expert_count": 8, "llama__expert_used_count": 2},
            UnsupportedModelError,
            "tensor 'blk.0.ffn_gate.weight'",
        ),
        ({"llama__rope__scaling__type": "su"}, UnsupportedModelError, "rope.scaling.type is 'su'"),
        ({"llama__novel_scale": 2}, UnsupportedModelError, "llama.novel_scale is 2: what it means"),
        ({"llama__context_length": "long"}, FormatError, "llama.context_length at byte"),
        ({"split__count": 3}, UnsupportedModelError, "one of 3 files of a split model; put them"),
        ({"tokenizer__ggml__tokens": None}, FormatError, "600 embeddings and no tokens"),
        ({"tokenizer__ggml__tokens": ["a", "b"]}, FormatError, "600 embeddings and 2 tokens"),
        ({"tokenizer__ggml__model": "rwkv"}, TokenizerError, "rwkv"),
        ({"tokenizer__ggml__scores": [math.nan] * 600}, TokenizerError, "finite number"),
        ({"tokenizer__chat_template": 5}, FormatError, "tokenizer.chat_template at byte"),
        ({"tokenizer__chat_template": "x" * 2**21}, FormatError, "is longer than"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
    model: Path,
    tmp_path: Path,
    progress: Progress,
    changes: dict[str, Any],
    error: type[LoadError],
    message: str,
) -> None:
    source = rewrite(model, tmp_path / "odd.gguf", **changes)
    caught = refusal(source, tmp_path, progress)
    assert isinstance(caught, error)
    assert message in str(caught)


def test_an_error_in_the_metadata_has_the_offset_of_the_key(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    source = rewrite(model, tmp_path / "odd.gguf", llama__context_length="long")
    caught = refusal(source, tmp_path, progress)
    assert isinstance(caught, FormatError)
    assert source.read_bytes().index(b"llama.context_length") < caught.offset


@pytest.mark.parametrize("name", ["blk.1.ffn_norm.weight", "blk.0.ffn_down.weight"])
def test_numbers_that_are_not_finite_leave_no_bundle(
    model: Path, tmp_path: Path, progress: Progress, name: str
) -> None:
    """The last number of a vector, a scale in the middle of a quantized matrix."""
    with FileSource(model) as source:
        (tensor,) = (t for t in read_gguf(source).tensors if t.name == name)
    data = bytearray(model.read_bytes())
    if tensor.type == "F32":
        struct.pack_into("<f", data, tensor.offset + tensor.size - 4, math.inf)
    else:
        assert tensor.type == "Q4_0"
        struct.pack_into("<e", data, tensor.offset + 18 * 1000, math.nan)
    (tmp_path / "odd.gguf").write_bytes(data)
    with pytest.raises(FormatError, match="infinite numbers or NaN") as caught:
        make(tmp_path / "odd.gguf", tmp_path / "bundle", progress, shard_size=1 << 16)
    assert (caught.value.field, caught.value.offset) == (tensor.name, tensor.offset)
    assert left_behind(tmp_path) == ["odd.gguf"]


def one_tensor(path: Path, architecture: str) -> Path:
    import numpy as np

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_unsupported_architecture_names_the_supported_ones(
    tmp_path: Path, progress: Progress
) -> None:
    caught = refusal(one_tensor(tmp_path / "m.gguf", "mamba"), tmp_path, progress)
    assert isinstance(caught, UnsupportedModelError)
    assert "architecture 'mamba' is not supported; supported: arcee, " in str(caught)


def test_an_unsupported_quantization_names_the_supported_ones(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    """IQ2_XXS in place of Q4_0: the same file, with one type's number changed and less data."""
    import numpy as np

    reader = gguf.GGUFReader(model)
    target = tmp_path / "odd.gguf"
    writer = gguf.GGUFWriter(target, "llama")
    add_metadata(writer, reader)
    for tensor in reader.tensors:
        data, quantization = tensor.data, tensor.tensor_type
        if tensor.name == "blk.0.ffn_up.weight":
            quantization = gguf.GGMLQuantizationType.IQ2_XXS
            data = np.zeros((data.shape[0], data.shape[1] // 144 * 66), np.uint8)
        writer.add_tensor(tensor.name, data, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    caught = refusal(target, tmp_path, progress)
    assert isinstance(caught, UnsupportedModelError)
    assert "'blk.0.ffn_up.weight'" in str(caught)
    assert "type IQ2_XXS, which is not supported; supported: F32, F16, BF16, Q4_0" in str(caught)


@pytest.mark.parametrize("length", [0, 3, 100, 50_000, -1])
def test_truncated_files(model: Path, tmp_path: Path, progress: Progress, length: int) -> None:
    source = tmp_path / "cut.gguf"
    source.write_bytes(model.read_bytes()[:length])
    refusal(source, tmp_path, progress)


def test_another_format_is_named(tmp_path: Path, progress: Progress) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x10" + bytes(16))
    caught = refusal(source, tmp_path, progress)
    assert str(caught).endswith(f"model.onnx: is ONNX; what can be packaged: {PACKAGEABLE}")


def test_a_source_with_another_hash_than_it_should_have(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    with FileSource(model) as source:
        opened = OpenedSource(source, "x", "x", sha256="0" * 64)
        with pytest.raises(IntegrityError, match=f"but its source says {'0' * 64}; get the file"):
            package(opened, tmp_path / "bundle", progress)
    assert left_behind(tmp_path) == []


class FailingSource(BytesSource):
    """Fails the read with number `fail_at`."""

    def __init__(self, data: bytes, fail_at: int) -> None:
        super().__init__(data, "failing.gguf")
        self.fail_at, self.reads = fail_at, 0

    def read_at(self, offset: int, size: int) -> bytes:
        self.reads += 1
        if self.reads == self.fail_at:
            raise FormatError(self.name, "data", offset, "cannot be read: injected")
        return super().read_at(offset, size)


def test_every_read_failing_in_turn_leaves_nothing(
    model: Path, tmp_path: Path, progress: Progress
) -> None:
    data = model.read_bytes()
    number = 1
    while True:
        source = FailingSource(data, number)
        opened = OpenedSource(source, "x", "x")
        try:
            package(opened, tmp_path / "bundle", progress, shard_size=1 << 17)
        except FormatError:
            assert left_behind(tmp_path) == [], number
            number += 1
            continue
        break
    assert number > 5
    assert left_behind(tmp_path) == ["bundle"]


@pytest.mark.parametrize("architecture", ["gemma3", "llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("quantization", ["MIXED", "F16"])
def test_every_architecture(
    tmp_path: Path, progress: Progress, architecture: str, quantization: str
) -> None:
    source = tiny_gguf(
        tmp_path / "m.gguf", architecture=architecture, quantization=quantization, tied=False
    )
    manifest = make(source, tmp_path / "bundle", progress)
    assert manifest.architecture == manifest.variants[0].config.architecture == architecture
    assert manifest.variants[0].engines == ("kernel",)
    assert manifest.variants[0].id.startswith("gguf-")
