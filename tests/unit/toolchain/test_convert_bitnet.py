"""BitNet's safetensors to GGUF: the ternary weights, the files around them, what is refused.

`tests/parity/architectures/test_bitnet_folder.py` holds the logits to transformers'.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize
from numpy.typing import NDArray
from tokenizers import Tokenizer as Oracle

import mlr
from mlr.bundle.manifest import Manifest
from mlr.errors import FormatError, LoadError, UnsupportedModelError
from mlr.tokenizer import load_tokenizer
from mlr_build.convert_hf import convert_folder
from mlr_build.package import package
from mlr_build.progress import Progress
from mlr_build.sources import open_source
from tests.support.tiny_bert import write_safetensors
from tests.support.tiny_bitnet import CHAT, END, LINEAR, TOKENS, VOCABULARY, Stored, tiny_bitnet

OFFLINE: dict[str, Any] = {"linear_class": "autobitlinear", "quantization_mode": "offline"}
DIVIDED: dict[str, Any] = {"linear_class": "bitlinear", "quantization_mode": "offline"}
ONLINE: dict[str, Any] = {"linear_class": "autobitlinear", "quantization_mode": "online"}

Arrays = dict[str, NDArray[np.float32]]


def written(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The numbers and the types of a GGUF file's tensors, as the `gguf` package reads them."""
    tensors = gguf.GGUFReader(path).tensors
    values = {t.name: dequantize(t.data, t.tensor_type).astype("f4") for t in tensors}
    return values, {t.name: t.tensor_type.name for t in tensors}


def floats(stored: tuple[str, NDArray[Any]]) -> NDArray[np.float32]:
    assert stored[0] == "BF16"
    return (stored[1].astype("<u4") << 16).view("<f4")


def ternary(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """-1, 0 and 1, all rows of the lowest bits first."""
    return np.concatenate([packed >> shift & 3 for shift in (0, 2, 4, 6)]).astype("f4") - 1


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("quantization", [OFFLINE, DIVIDED], ids=["multiplied", "divided"])
def test_packed(
    tmp_path: Path, progress: Progress, quantization: dict[str, Any], shards: int
) -> None:
    folder, given = tiny_bitnet(tmp_path / "m", shards=shards, **quantization)
    convert_folder(folder, tmp_path / "m.gguf", "f16", progress)
    found, types = written(tmp_path / "m.gguf")
    assert len(found) == 2 + 2 * (4 + 2 * len(LINEAR))
    for layer in range(2):
        for old, new in LINEAR.items():
            weight = given[f"model.layers.{layer}.{old}.weight"][1]
            scale = floats(given[f"model.layers.{layer}.{old}.weight_scale"])
            name = f"blk.{layer}.{new}"
            assert types[f"{name}.weight"] == "TQ2_0"
            assert np.array_equal(found[f"{name}.weight"], ternary(weight)), name
            wanted = scale if quantization is OFFLINE else np.float32(1) / scale
            assert np.array_equal(found[f"{name}.scale"], wanted), name
    for new, old in (
        ("output_norm", "norm"),
        ("blk.1.attn_norm", "layers.1.input_layernorm"),
        ("blk.1.ffn_norm", "layers.1.post_attention_layernorm"),
        ("blk.0.attn_sub_norm", "layers.0.self_attn.attn_sub_norm"),
        ("blk.0.ffn_sub_norm", "layers.0.mlp.ffn_sub_norm"),
    ):
        assert types[f"{new}.weight"] == "F32"
        assert np.array_equal(found[f"{new}.weight"], floats(given[f"model.{old}.weight"])), new
    embedding = floats(given["model.embed_tokens.weight"])
    assert np.array_equal(found["token_embd.weight"], embedding.astype("f2").astype("f4"))


def test_rows_that_are_no_whole_blocks(tmp_path: Path, progress: Progress) -> None:
    """They are F16, which holds -1, 0 and 1 exactly as well."""
    folder, given = tiny_bitnet(tmp_path / "m", width=64, **OFFLINE)
    convert_folder(folder, tmp_path / "m.gguf", "f16", progress)
    found, types = written(tmp_path / "m.gguf")
    assert (types["blk.0.attn_q.weight"], types["blk.0.ffn_down.weight"]) == ("F16", "TQ2_0")
    packed = given["model.layers.0.self_attn.q_proj.weight"][1]
    assert np.array_equal(found["blk.0.attn_q.weight"], ternary(packed))


def test_rounded(tmp_path: Path, progress: Progress) -> None:
    folder, given = tiny_bitnet(tmp_path / "m", **ONLINE)
    convert_folder(folder, tmp_path / "m.gguf", "f16", progress)
    found, types = written(tmp_path / "m.gguf")
    for old, new in LINEAR.items():
        weight = floats(given[f"model.layers.1.{old}.weight"])
        mean = np.abs(weight.astype("f8")).mean()
        assert types[f"blk.1.{new}.weight"] == "TQ2_0"
        wanted = np.clip(np.rint(weight / mean), -1, 1)
        assert np.array_equal(found[f"blk.1.{new}.weight"], wanted), new
        assert found[f"blk.1.{new}.scale"] == pytest.approx(mean, rel=1e-6)


def test_plain(tmp_path: Path, progress: Progress) -> None:
    folder, given = tiny_bitnet(tmp_path / "m")
    convert_folder(folder, tmp_path / "m.gguf", "f16", progress)
    found, types = written(tmp_path / "m.gguf")
    assert types["blk.0.attn_output.weight"] == "F16"
    assert "blk.0.attn_output.scale" not in found
    weight = floats(given["model.layers.0.self_attn.o_proj.weight"])
    assert np.array_equal(found["blk.0.attn_output.weight"], weight.astype("f2").astype("f4"))


def test_llama(tmp_path: Path, progress: Progress) -> None:
    """Of each head of queries and keys, rows that are rotated together become neighbours."""
    folder, given = tiny_bitnet(tmp_path / "m", llama=True, **DIVIDED)
    manifest = make(folder, tmp_path / "bundle", progress)
    config = manifest.variants[0].config
    assert (config.architecture, config.activation, config.sub_norms) == ("llama", "silu", False)
    assert (config.rope_style, config.head_dim, config.n_kv_heads) == ("interleaved", 64, 2)
    convert_folder(folder, tmp_path / "m.gguf", "f16", progress)
    found, types = written(tmp_path / "m.gguf")
    for x, heads in (("q", 4), ("k", 2), ("v", 0)):
        rows = ternary(given[f"model.layers.1.self_attn.{x}_proj.weight"][1])
        for head in range(heads):
            first = 64 * head
            place = [first + i // 2 + 32 * (i % 2) for i in range(64)]
            matrix = found[f"blk.1.attn_{x}.weight"][first : first + 64]
            assert np.array_equal(matrix, rows[place])
        if not heads:
            assert np.array_equal(found[f"blk.1.attn_{x}.weight"], rows)
        assert types[f"blk.1.attn_{x}.weight"] == "TQ2_0"


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"quantization_config": None}, UnsupportedModelError, "'llama' is converted"),
        ({"hidden_act": "relu2"}, UnsupportedModelError, "only 'silu'"),
        ({"mlp_bias": True}, UnsupportedModelError, "mlp_bias is True"),
        ({"num_attention_heads": 3}, FormatError, "q_proj.weight.* has not 3 heads"),
        ({"num_key_value_heads": 5}, FormatError, "k_proj.weight.* has not 5 heads"),
    ],
)
def test_odd_llamas(
    tmp_path: Path,
    progress: Progress,
    changes: dict[str, Any],
    error: type[LoadError],
    reason: str,
) -> None:
    folder, _ = tiny_bitnet(tmp_path / "m", llama=True, **OFFLINE)
    change(folder / "config.json", **changes)
    with pytest.raises(error, match=reason):
        make(folder, tmp_path / "bundle", progress)


def make(folder: Path, out: Path, progress: Progress, quantization: str = "f16") -> Manifest:
    with open_source(str(folder), progress, quantization=quantization) as opened:
        return package(opened, out, progress).manifest


def test_a_bundle(tmp_path: Path, progress: Progress) -> None:
    folder, _ = tiny_bitnet(tmp_path / "tiny bitnet", shards=2, **OFFLINE)
    manifest = make(folder, tmp_path / "bundle", progress)
    variant = manifest.variants[0]
    config = variant.config
    assert (manifest.name, manifest.task) == ("tiny-bitnet", "generate")
    assert variant.quantization == "TQ2_0"
    assert (config.n_embd, config.n_ff, config.n_layers) == (256, 512, 2)
    assert config.n_vocab == VOCABULARY
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (4, 2, 64)
    assert (config.rope_theta, config.rope_style, config.context_length) == (5e5, "half", 128)
    assert (config.activation, config.sub_norms, config.gated) == ("relu_squared", True, True)
    assert config.norm_epsilon == pytest.approx(1e-5)
    assert (manifest.tokenizer.format, manifest.tokenizer_json) == ("huggingface", None)
    assert manifest.chat_template is not None
    assert (tmp_path / "bundle" / manifest.chat_template.file).read_text() == CHAT
    assert manifest.special_tokens is not None
    assert set(manifest.special_tokens.ends) == {TOKENS.index("<|end_of_text|>"), END}
    data = (tmp_path / "bundle" / manifest.tokenizer.file).read_bytes()
    assert data == (folder / "tokenizer.json").read_bytes()
    tokenizer, oracle = load_tokenizer("huggingface", data), Oracle.from_str(data.decode())
    for text in ("the other theme", "Grüße, 世界!", "a<|eot_id|>b"):
        assert tokenizer.encode(text) == oracle.encode(text).ids
    with mlr.load_sync(tmp_path / "bundle") as model:
        assert model.info.quantization == "TQ2_0"
        assert model.generate("the", max_tokens=3).finish_reason in ("length", "stop")


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


@pytest.mark.parametrize(
    ("file", "changes", "error", "reason"),
    [
        ("config.json", {"model_type": "falcon"}, UnsupportedModelError, "converted: bert, bitnet"),
        ("config.json", {"hidden_act": "silu"}, UnsupportedModelError, "only 'relu2'"),
        ("config.json", {"attention_bias": True}, UnsupportedModelError, "attention_bias is True"),
        ("config.json", {"hidden_size": 1 << 40}, FormatError, "hidden_size"),
        ("config.json", {"hidden_size": 512}, FormatError, "must have the shape"),
        ("config.json", {"num_attention_heads": 2}, FormatError, "must have the shape"),
        ("config.json", {"num_hidden_layers": 3}, FormatError, "blk.2.* is missing"),
        ("config.json", {"num_hidden_layers": 1}, UnsupportedModelError, "is not part of bitnet"),
        ("config.json", {"rms_norm_eps": "small"}, FormatError, "rms_norm_eps"),
        ("config.json", {"rope_theta": 1e300}, FormatError, "rope_theta"),
        ("config.json", {"rope_scaling": {"type": "yarn"}}, UnsupportedModelError, "rope_scaling"),
        (
            "config.json",
            {"rope_parameters": {"rope_type": "yarn"}},
            UnsupportedModelError,
            "rope_type is 'yarn'",
        ),
        ("config.json", {"rope_parameters": 3}, FormatError, "rope_parameters"),
        ("config.json", {"vocab_size": 100}, FormatError, "vocab_size is 100"),
        ("config.json", {"vocab_size": 1 << 30}, FormatError, "vocab_size is"),
        ("config.json", {"vocab_size": VOCABULARY + 1}, FormatError, "embeddings and"),
        ("config.json", {"tie_word_embeddings": False}, FormatError, "lm_head.weight is missing"),
        ("config.json", {"eos_token_id": 5}, UnsupportedModelError, r"eos_token_id is 5 \('&'\)"),
        ("config.json", {"quantization_config": 1}, FormatError, "quantization_config"),
        ("config.json", {"quantization_config": {}}, UnsupportedModelError, "quant_method is None"),
        ("config.json", {"quantization_config": None}, UnsupportedModelError, "the dtype U8"),
        ("tokenizer.json", {"model": {"type": "Unigram"}}, UnsupportedModelError, "'Unigram'"),
        ("tokenizer.json", {"decoder": None}, UnsupportedModelError, "BPE of bytes is"),
        ("tokenizer_config.json", {"chat_template": 5}, FormatError, "chat_template"),
        ("tokenizer_config.json", {"chat_template": "\ud800"}, FormatError, "chat_template"),
        ("modules.json", [], UnsupportedModelError, "are not supported"),
    ],
)
def test_odd_folders(
    tmp_path: Path,
    progress: Progress,
    file: str,
    changes: Any,
    error: type[LoadError],
    reason: str,
) -> None:
    folder, _ = tiny_bitnet(tmp_path / "m", **OFFLINE)
    if isinstance(changes, dict):
        change(folder / file, **changes)
    else:
        (folder / file).write_text(json.dumps(changes))
    with pytest.raises(error, match=reason):
        make(folder, tmp_path / "bundle", progress)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quant_method": "gptq"}, "quant_method is 'gptq'"),
        ({"linear_class": "linear"}, "linear_class is 'linear'"),
        ({"quantization_mode": "both"}, "quantization_mode is 'both'"),
        ({"quantization_mode": "online"}, "the dtype U8"),
        ({"use_rms_norm": True}, "use_rms_norm is True"),
        ({"modules_to_not_convert": ["q_proj"]}, "modules_to_not_convert"),
    ],
)
def test_odd_quantization(
    tmp_path: Path, progress: Progress, changes: dict[str, Any], reason: str
) -> None:
    folder, _ = tiny_bitnet(tmp_path / "m", **OFFLINE)
    quantization = {"quant_method": "bitnet", **OFFLINE, **changes}
    change(folder / "config.json", quantization_config=quantization)
    with pytest.raises(UnsupportedModelError, match=reason):
        make(folder, tmp_path / "bundle", progress)


Q = "model.layers.1.self_attn.q_proj.weight"
BF16 = np.array([0x3F80], "<u2")  # 1


def replaced(name: str, dtype: str, values: NDArray[Any]) -> Callable[[Stored], Stored]:
    return lambda tensors: {**tensors, name: (dtype, values)}


def without(name: str) -> Callable[[Stored], Stored]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("damage", "error", "reason"),
    [
        (replaced(Q, "U8", np.full((64, 256), 0xC0, "u1")), FormatError, "holds 3"),
        (replaced(Q, "U8", np.zeros((32, 256), "u1")), FormatError, r"blk.1.attn_q.* has \[128"),
        (replaced(Q, "U8", np.zeros(64, "u1")), FormatError, "must be a matrix"),
        (replaced(Q, "U8", np.zeros((0, 256), "u1")), FormatError, "must be a matrix"),
        (replaced(Q, "BF16", np.zeros((256, 256), "<u2")), UnsupportedModelError, "dtype BF16"),
        (replaced(Q + "_scale", "BF16", np.zeros(2, "<u2")), FormatError, "must be one float"),
        (replaced(Q + "_scale", "U8", np.ones(1, "u1")), FormatError, "must be one float"),
        (replaced(Q + "_scale", "BF16", 0 * BF16), FormatError, "is 0.0, which scales nothing"),
        (replaced(Q + "_scale", "BF16", BF16 | 0x7FFF), FormatError, "is nan"),
        (without(Q + "_scale"), FormatError, "weight_scale.* is missing"),
        (without(Q), UnsupportedModelError, "q_proj.weight_scale' is not part"),
        (without("model.norm.weight"), FormatError, "output_norm.weight.* is missing"),
        (
            replaced("model.embed_tokens.weight", "U8", np.zeros((VOCABULARY, 256), "u1")),
            UnsupportedModelError,
            "embed_tokens.weight' has the dtype U8",
        ),
        (replaced(Q[:-6] + "bias", "BF16", BF16), UnsupportedModelError, "q_proj.bias' is not"),
        (replaced("x", "BF16", BF16), UnsupportedModelError, "'x' is not part of bitnet"),
    ],
)
def test_damaged_tensors(
    tmp_path: Path,
    progress: Progress,
    damage: Callable[[Stored], Stored],
    error: type[LoadError],
    reason: str,
) -> None:
    folder, tensors = tiny_bitnet(tmp_path / "m", **OFFLINE)
    write_safetensors(folder / "model.safetensors", damage(tensors), format="pt")
    with pytest.raises(error, match=reason):
        make(folder, tmp_path / "bundle", progress)
    assert not (tmp_path / "bundle").exists()


def test_weights_that_are_not_finite(tmp_path: Path, progress: Progress) -> None:
    folder, tensors = tiny_bitnet(tmp_path / "m", **ONLINE)
    tensors[Q][1][3, 5] = 0x7F80
    write_safetensors(folder / "model.safetensors", tensors, format="pt")
    with pytest.raises(FormatError, match=r"q_proj.weight.* not finite"):
        make(folder, tmp_path / "bundle", progress)


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({Q: "../model.safetensors"}, "has no file's name"),
        ({Q: 5}, "has no file's name"),
        ({"y": FIRST}, f"y at .* is listed in {FIRST}, and is in none"),
        ({"model.norm.weight": FIRST}, f"is listed in {FIRST}, and is in {SECOND}"),
        ({Q: "model-3.safetensors"}, "no such regular file"),
    ],
)
def test_odd_indexes(
    tmp_path: Path, progress: Progress, changes: dict[str, Any], reason: str
) -> None:
    folder, _ = tiny_bitnet(tmp_path / "m", shards=2, **OFFLINE)
    path = folder / "model.safetensors.index.json"
    places = json.loads(path.read_bytes())["weight_map"]
    change(path, weight_map={**places, **changes})
    with pytest.raises(FormatError, match=reason):
        make(folder, tmp_path / "bundle", progress)


def test_a_tensor_in_two_files(tmp_path: Path, progress: Progress) -> None:
    folder, tensors = tiny_bitnet(tmp_path / "m", shards=2, **OFFLINE)
    write_safetensors(folder / SECOND, tensors, format="pt")
    with pytest.raises(FormatError, match=f"is in {FIRST} too"):
        make(folder, tmp_path / "bundle", progress)
