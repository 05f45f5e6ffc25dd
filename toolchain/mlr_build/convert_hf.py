"""A Hugging Face folder as a GGUF file: a table of architectures says what is called how."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlr.errors import FormatError, UnsupportedModelError
from mlr.formats.ggml_types import FILE_TYPES, TYPES
from mlr.formats.safetensors import SafetensorsTensor, read_safetensors
from mlr.formats.source import FileSource
from mlr_build.gguf_writer import TensorToWrite, write_gguf
from mlr_build.huggingface import (
    WEIGHTS,
    SentenceSettings,
    license_of,
    read_json,
    sentence_settings,
)
from mlr_build.progress import Progress

__all__ = ["Converted", "convert_folder"]

_POOLING_TYPES = ("none", "mean", "cls", "last", "rank")  # by `pooling_type`
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Converted:
    """What a bundle needs besides the GGUF file."""

    tokenizer: bytes  # the folder's own tokenizer.json
    settings: SentenceSettings | None


@dataclass(frozen=True, slots=True)
class Family:
    """How the models of one `model_type` are written in GGUF.

    `metadata` gives the keys after "{architecture}."; `names` are patterns of tensors' names
    with what each becomes; tensors that match `ignored` are left out. Only matrices are
    quantized, and not those whose new names match `kept`.
    """

    architecture: str
    metadata: Callable[[Config, SentenceSettings | None], dict[str, Any]]
    names: tuple[tuple[str, str], ...]
    ignored: str
    kept: str


def _bert_metadata(config: Config, settings: SentenceSettings | None) -> dict[str, Any]:
    _require(config, "hidden_act", "gelu")
    _require(config, "position_embedding_type", "absolute")
    pooling = settings.pooling if settings else "mean"
    return {
        "context_length": _integer(config, "max_position_embeddings"),
        "embedding_length": _integer(config, "hidden_size"),
        "feed_forward_length": _integer(config, "intermediate_size"),
        "block_count": _integer(config, "num_hidden_layers"),
        "attention.head_count": _integer(config, "num_attention_heads"),
        "attention.layer_norm_epsilon": float(config.get("layer_norm_eps", 1e-12)),
        "attention.causal": False,
        "pooling_type": _POOLING_TYPES.index(pooling),
    }


_LAYER = r"(?:bert\.)?encoder\.layer\.(\d+)\."
_PART = r"\.(weight|bias)"

FAMILIES = {
    "bert": Family(
        "bert",
        _bert_metadata,
        (
            (r"(?:bert\.)?embeddings\.word_embeddings\.weight", "token_embd.weight"),
            (r"(?:bert\.)?embeddings\.position_embeddings\.weight", "position_embd.weight"),
            (r"(?:bert\.)?embeddings\.token_type_embeddings\.weight", "token_types.weight"),
            (r"(?:bert\.)?embeddings\.LayerNorm" + _PART, r"token_embd_norm.\1"),
            (_LAYER + r"attention\.self\.query" + _PART, r"blk.\1.attn_q.\2"),
            (_LAYER + r"attention\.self\.key" + _PART, r"blk.\1.attn_k.\2"),
            (_LAYER + r"attention\.self\.value" + _PART, r"blk.\1.attn_v.\2"),
            (_LAYER + r"attention\.output\.dense" + _PART, r"blk.\1.attn_output.\2"),
            (_LAYER + r"attention\.output\.LayerNorm" + _PART, r"blk.\1.attn_output_norm.\2"),
            (_LAYER + r"intermediate\.dense" + _PART, r"blk.\1.ffn_up.\2"),
            (_LAYER + r"output\.dense" + _PART, r"blk.\1.ffn_down.\2"),
            (_LAYER + r"output\.LayerNorm" + _PART, r"blk.\1.layer_output_norm.\2"),
            (r"bert\.pooler\.dense" + _PART, r"cls.\1"),
            (r"classifier" + _PART, r"cls.output.\1"),
        ),
        # A pooler without a classifier is what is left of BERT's training.
        ignored=r"(embeddings|bert\.embeddings)\.position_ids|pooler\..*",
        kept=r"(position_embd|token_types|cls|cls\.output)\.weight",
    ),
}


def convert_folder(folder: Path, target: Path, quantization: str, progress: Progress) -> Converted:
    """Write the folder's model to `target` as GGUF, its matrices as `quantization`.

    Raises `UnsupportedModelError` for what cannot be converted, `FormatError` for broken files.
    """
    config = read_json(folder / "config.json")
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        raise UnsupportedModelError(
            f"{folder.name}: model_type {config.get('model_type')!r:.60} is not converted from "
            f"safetensors; converted: {', '.join(FAMILIES)} (others: package a GGUF file)"
        )
    settings = sentence_settings(folder)
    tokenizer = folder / "tokenizer.json"
    metadata = {
        "general.architecture": family.architecture,
        "general.file_type": _file_type(quantization),
        **{f"{family.architecture}.{k}": v for k, v in family.metadata(config, settings).items()},
        **_wordpiece(read_json(tokenizer), tokenizer),
    }
    license_id = license_of(folder)
    if license_id:
        metadata["general.license"] = license_id
    with FileSource(folder / WEIGHTS) as source:
        tensors = _tensors(source, family, quantization)
        with progress.step("Converting", sum(tensor.size for tensor in tensors)) as advance:
            counted = [_counted(tensor, advance) for tensor in tensors]
            write_gguf(target, metadata, counted)
    return Converted(tokenizer.read_bytes(), settings)


def _counted(tensor: TensorToWrite, advance: Callable[[int], None]) -> TensorToWrite:
    def blocks() -> Any:
        for block in tensor.blocks():
            advance(len(block))
            yield block

    return TensorToWrite(tensor.name, tensor.type, tensor.shape, blocks)


def _tensors(source: FileSource, family: Family, quantization: str) -> list[TensorToWrite]:
    """The tensors under their new names, to be read when they are written."""
    from mlr_build.number_types import FLOAT_DTYPES, encode_rows

    found: dict[str, TensorToWrite] = {}
    for tensor in read_safetensors(source).tensors:
        if re.fullmatch(family.ignored, tensor.name):
            continue
        name = _new_name(tensor, family, source.name)
        if tensor.dtype not in FLOAT_DTYPES or not tensor.size:
            raise UnsupportedModelError(
                f"{source.name}: tensor {tensor.name!r} has the dtype {tensor.dtype}; "
                f"converted: {', '.join(FLOAT_DTYPES)}"
            )
        if name in found:
            raise FormatError(source.name, tensor.name, 0, f"is a second {name}")
        kind = _type(name, tensor.shape, family, quantization)
        shape = tensor.shape
        if name == "cls.output.weight":
            if shape[0] != 1:
                raise UnsupportedModelError(
                    f"{source.name}: the classifier has {shape[0]} labels; "
                    "a model that ranks pairs of texts has one"
                )
            shape = shape[1:]
        blocks = partial(encode_rows, source, tensor, kind)
        found[name] = TensorToWrite(name, kind, shape, blocks)
    return sorted(found.values(), key=lambda tensor: _order(tensor.name))


def _new_name(tensor: SafetensorsTensor, family: Family, file: str) -> str:
    for pattern, name in family.names:
        if re.fullmatch(pattern, tensor.name):
            return re.sub(pattern, name, tensor.name)
    raise UnsupportedModelError(
        f"{file}: tensor {tensor.name!r} is not part of {family.architecture} as it is computed "
        "here; leaving it out would give wrong results"
    )


def _type(name: str, shape: tuple[int, ...], family: Family, quantization: str) -> str:
    if len(shape) < 2 or re.fullmatch(family.kept, name):
        return "F32"
    kind = quantization.upper()
    return kind if shape[-1] % TYPES[kind].block_size == 0 else "F16"


def _order(name: str) -> tuple[int, str]:
    match = re.match(r"blk\.(\d+)\.", name)
    return (int(match[1]) + 1 if match else 0 if not name.startswith("cls") else 1 << 20, name)


def _file_type(quantization: str) -> int:
    return next(number for number, name in FILE_TYPES.items() if name == quantization.upper())


def _wordpiece(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The vocabulary for other readers of GGUF. mlr itself reads the tokenizer.json."""
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    kind = model.get("type") if isinstance(model, dict) else None
    if kind != "WordPiece" or not isinstance(vocabulary, dict) or not vocabulary:
        raise UnsupportedModelError(f"{path}: the tokenizer {kind!r:.40} is not converted")
    ids = sorted(vocabulary.values(), key=int)
    if ids != list(range(len(ids))):
        raise FormatError(str(path), "vocab", 0, "has ids that are not 0, 1, 2, …")
    special = {
        entry["content"] for entry in content.get("added_tokens", []) if entry.get("special")
    }
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    unknown = model.get("unk_token", "[UNK]") if isinstance(model, dict) else "[UNK]"
    prefix = "tokenizer.ggml."
    found = {
        "bos_token_id": "[CLS]",
        "seperator_token_id": "[SEP]",  # spelled so in the format
        "unknown_token_id": unknown,
        "padding_token_id": "[PAD]",
        "mask_token_id": "[MASK]",
    }
    return {
        prefix + "model": "bert",
        prefix + "tokens": [_gguf_token(token) for token in ordered],
        prefix + "token_type": [
            _UNKNOWN if token == unknown else _CONTROL if token in special else _NORMAL
            for token in ordered
        ],
        **{prefix + key: vocabulary[name] for key, name in found.items() if name in vocabulary},
    }


def _gguf_token(token: str) -> str:
    """GGUF marks beginnings of words, not what goes on inside them."""
    if token.startswith("[") and token.endswith("]"):
        return token
    return token.removeprefix("##") if token.startswith("##") else "▁" + token


def _integer(config: Config, name: str) -> int:
    value = config.get(name)
    if type(value) is not int or value < 1:
        raise FormatError("config.json", name, 0, f"must be a positive integer, is {value!r:.60}")
    return value


def _require(config: Config, name: str, value: str) -> None:
    if config.get(name, value) != value:
        raise UnsupportedModelError(
            f"config.json: {name} is {config[name]!r:.60}; only {value!r} is supported"
        )
