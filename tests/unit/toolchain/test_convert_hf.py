"""Safetensors to GGUF: the numbers, the names, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize
from tokenizers import Tokenizer as Oracle

from mlr.bundle.manifest import EmbeddingSettings, Manifest
from mlr.errors import FormatError, LoadError, UnsupportedModelError
from mlr.formats.safetensors import read_safetensors
from mlr.formats.source import BytesSource, FileSource
from mlr.tokenizer import load_tokenizer
from mlr_build.convert_hf import convert_folder
from mlr_build.numbers.encoding import encode_rows
from mlr_build.package import package
from mlr_build.progress import Progress
from mlr_build.sources import open_source
from tests.support.tiny_bert import (
    POSITIONS,
    TEXTS,
    VOCABULARY,
    WIDTH,
    tiny_bert,
    tiny_cross_encoder,
)


def tensors_of(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The folder's tensors as float32, read without the code under test."""
    found = {}
    with FileSource(folder / "model.safetensors") as source:
        for tensor in read_safetensors(source).tensors:
            data = source.read_at(tensor.offset, tensor.size)
            if tensor.dtype == "BF16":
                values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
            else:
                kinds = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}
                values = np.frombuffer(data, kinds[tensor.dtype])
            found[tensor.name] = values.reshape(tensor.shape).astype("f4")
    return found


@pytest.mark.parametrize("quantization", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_tensors(tmp_path: Path, progress: Progress, dtype: str, quantization: str) -> None:
    folder = tiny_bert(tmp_path / "bert", dtype=dtype)
    convert_folder(folder, tmp_path / "m.gguf", quantization, progress)
    given = tensors_of(folder)
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert len(found) == 5 + 2 * 16
    kind = getattr(gguf.GGMLQuantizationType, quantization.upper())
    for name, source in (
        ("token_embd.weight", "embeddings.word_embeddings.weight"),
        ("blk.1.attn_k.weight", "encoder.layer.1.attention.self.key.weight"),
        ("blk.0.ffn_down.weight", "encoder.layer.0.output.dense.weight"),
    ):
        tensor = found[name]
        assert tensor.tensor_type == kind, name
        assert np.array_equal(tensor.data.view("u1"), quantize(given[source], kind).view("u1"))
    for name, source in (
        ("position_embd.weight", "embeddings.position_embeddings.weight"),
        ("token_types.weight", "embeddings.token_type_embeddings.weight"),
        ("blk.1.layer_output_norm.bias", "encoder.layer.1.output.LayerNorm.bias"),
    ):
        assert np.array_equal(found[name].data, given[source]), name


def test_q8_0_rounds_as_ggml_does() -> None:
    draw = np.random.default_rng(3)
    values = draw.normal(size=(7, 64)).astype("f4") * 10.0 ** draw.integers(-2, 4, (7, 1))
    values = values.astype("f4")
    values[2], values[3, :32] = 0.0, np.arange(-16, 16) + 0.5
    head = {"w": {"dtype": "F32", "shape": [7, 64], "data_offsets": [0, values.nbytes]}}
    data = json.dumps(head).encode()
    source = BytesSource(len(data).to_bytes(8, "little") + data + values.tobytes(), "m")
    (tensor,) = read_safetensors(source).tensors
    found = np.frombuffer(b"".join(encode_rows(source, tensor, "Q8_0")), "u1")
    kind = gguf.GGMLQuantizationType.Q8_0
    assert np.array_equal(found, quantize(values, kind).view("u1").ravel())
    error = np.abs(dequantize(found.reshape(7, -1), kind) - values)
    # Half a step of rounding, and 127 steps times the scale's own error as a float16 (2^-11).
    step = np.abs(values).max(axis=1, keepdims=True) / 127
    assert (error <= step * (0.5 + 127 / 2048 + 1e-3)).all()


def make(folder: Path, out: Path, progress: Progress, quantization: str = "f16") -> Manifest:
    with open_source(str(folder), progress, quantization=quantization) as opened:
        return package(opened, out, progress).manifest


def test_a_bundle_of_a_folder(tmp_path: Path, progress: Progress) -> None:
    folder = tiny_bert(tmp_path / "tiny bert")
    manifest = make(folder, tmp_path / "bundle", progress)
    config = manifest.variants[0].config
    assert (manifest.name, manifest.task, manifest.architecture) == ("tiny-bert", "embed", "bert")
    assert (config.n_embd, config.context_length, config.pooling) == (WIDTH, POSITIONS, "mean")
    assert config.normalize_embeddings
    assert not config.causal
    assert manifest.embedding == EmbeddingSettings(24, {"query": "a query , "}, None)
    assert manifest.license.id == "apache-2.0"
    assert manifest.variants[0].quantization == "F16"
    assert (manifest.tokenizer.format, manifest.tokenizer_json) == ("huggingface", None)
    assert manifest.special_tokens is not None
    assert (manifest.special_tokens.before, manifest.special_tokens.after) == ((2,), (3,))
    tokenizer = load_tokenizer(
        "huggingface", (tmp_path / "bundle" / manifest.tokenizer.file).read_bytes()
    )
    oracle = Oracle.from_file(str(folder / "tokenizer.json"))
    for text in TEXTS:
        assert tokenizer.encode(text) == oracle.encode(text).ids
    assert make(folder, tmp_path / "again", progress) == manifest


def test_the_gguf_file_has_a_vocabulary_for_other_readers(
    tmp_path: Path, progress: Progress
) -> None:
    convert_folder(tiny_bert(tmp_path / "bert"), tmp_path / "m.gguf", "f16", progress)
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == len(VOCABULARY)
    assert tokens[:3] == ["[PAD]", "[UNK]", "[CLS]"]
    assert (tokens[VOCABULARY.index("##s")], tokens[VOCABULARY.index("cat")]) == ("s", "▁cat")
    assert fields["tokenizer.ggml.seperator_token_id"].contents() == 3


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_poolings(tmp_path: Path, progress: Progress, pooling: str) -> None:
    manifest = make(tiny_bert(tmp_path / "b", pooling=pooling), tmp_path / "out", progress)
    assert manifest.variants[0].config.pooling == pooling.partition("_")[0]


def test_a_cross_encoder(tmp_path: Path, progress: Progress) -> None:
    """Its classifier stays in F32, and its limit is the tokenizer's."""
    folder = tiny_cross_encoder(tmp_path / "ranker")
    manifest = make(folder, tmp_path / "out", progress, "q8_0")
    config = manifest.variants[0].config
    assert (manifest.task, config.pooling, config.token_types) == ("rank", "rank", 2)
    assert manifest.embedding == EmbeddingSettings(32, {}, None)
    convert_folder(folder, tmp_path / "m.gguf", "q8_0", progress)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    given = tensors_of(folder)
    for name, source in (
        ("cls.weight", "bert.pooler.dense.weight"),
        ("cls.bias", "bert.pooler.dense.bias"),
        ("cls.output.bias", "classifier.bias"),
    ):
        assert np.array_equal(found[name].data, given[source]), name
    assert np.array_equal(found["cls.output.weight"].data, given["classifier.weight"][0])


def test_a_classifier_of_several_labels(tmp_path: Path, progress: Progress) -> None:
    folder = tiny_cross_encoder(tmp_path / "classifier", labels=3)
    with pytest.raises(UnsupportedModelError, match="the classifier has 3 labels"):
        make(folder, tmp_path / "out", progress)


def change(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize(
    ("file", "changes", "error", "reason"),
    [
        ("config.json", {"model_type": "mamba"}, UnsupportedModelError, "'mamba' is not conver"),
        ("config.json", {"hidden_act": "relu"}, UnsupportedModelError, "hidden_act is 'relu'"),
        ("config.json", {"position_embedding_type": "x"}, UnsupportedModelError, "only 'absolute'"),
        ("config.json", {"hidden_size": "64"}, FormatError, "hidden_size"),
        ("config.json", {"num_hidden_layers": 3}, FormatError, "blk.2.* is missing"),
        ("config.json", {"num_hidden_layers": 1}, UnsupportedModelError, "is not part of bert"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, UnsupportedModelError, "max"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, FormatError, "max_seq_length"),
        ("config_sentence_transformers.json", {"prompts": 5}, FormatError, "prompts"),
        ("config_sentence_transformers.json", {"prompts": {"q": "\ud800"}}, FormatError, "surrog"),
        ("config_sentence_transformers.json", {"default_prompt_name": []}, FormatError, "default"),
        (
            *("tokenizer.json", {"model": {"type": "WordPiece", "vocab": {"a": "b"}}}),
            *(FormatError, "ids that are not"),
        ),
        ("tokenizer.json", {"added_tokens": [5]}, FormatError, "added_tokens"),
        ("tokenizer.json", {"model": {"type": "BPE"}}, UnsupportedModelError, "'BPE' is not conv"),
    ],
)
def test_what_is_refused(
    tmp_path: Path,
    progress: Progress,
    file: str,
    changes: dict[str, Any],
    error: type[LoadError],
    reason: str,
) -> None:
    folder = tiny_bert(tmp_path / "bert")
    change(folder / file, **changes)
    with pytest.raises(error, match=reason):
        make(folder, tmp_path / "bundle", progress)
    assert not (tmp_path / "bundle").exists()


def test_modules_that_are_not_known(tmp_path: Path, progress: Progress) -> None:
    folder = tiny_bert(tmp_path / "bert")
    modules = json.loads((folder / "modules.json").read_bytes())
    modules.append({"idx": 3, "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UnsupportedModelError, match="Dense are not supported"):
        make(folder, tmp_path / "bundle", progress)
