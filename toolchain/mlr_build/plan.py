"""Decide what a bundle will hold, and refuse what cannot run, before any tensor is copied."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlr.bundle.manifest import EmbeddingSettings, License, TensorEntry
from mlr.errors import FormatError, RequestError, UnsupportedModelError
from mlr.formats.detect import require_packageable
from mlr.formats.expected_tensors import expected_tensors
from mlr.formats.ggml_types import FILE_TYPES, KERNEL_TYPES
from mlr.formats.gguf import GgufFile, read_gguf
from mlr.formats.model_config import ModelConfig
from mlr.tokenizer import Tokenizer, load_tokenizer
from mlr_build.licenses import describe_license, license_paths
from mlr_build.packed_tokenizer import pack_tokenizer
from mlr_build.sources import OpenedSource

__all__ = ["BundlePlan", "plan_bundle", "quantization_name", "tensor_entries"]

MAX_CHAT_TEMPLATE_BYTES = 1 << 20
MAX_NAME = 100  # characters


@dataclass(frozen=True, slots=True)
class BundlePlan:
    """What will be written, apart from the shards."""

    name: str
    gguf: GgufFile
    config: ModelConfig
    quantization: str
    engines: tuple[str, ...]
    parameters: int
    license: License
    tokenizer: bytes
    tokenizer_format: str
    embedding: EmbeddingSettings | None
    reader: Tokenizer  # made of `tokenizer`
    chat_template: bytes | None
    files: dict[str, bytes]  # licence texts by their path in the bundle


def plan_bundle(opened: OpenedSource, name: str | None) -> BundlePlan:
    """Read the header of a model and check that a bundle of it would run.

    Raises `UnsupportedModelError` for a format, architecture, tensor type or tokenizer that is
    not supported, and `FormatError` or `TokenizerError` for a file that is broken.
    """
    require_packageable(opened.source)
    gguf = read_gguf(opened.source)
    _refuse_split(gguf)
    shapes = {tensor.name: tensor.shape for tensor in gguf.tensors}
    try:
        config = ModelConfig.from_gguf(gguf.metadata, shapes, gguf.name)
    except FormatError as error:
        raise gguf.locate(error) from error
    converted = opened.converted
    settings = converted.settings if converted else None
    if settings is not None:
        config = dataclasses.replace(config, normalize_embeddings=settings.normalize)
    _check_tensors(gguf, config)
    kind = "huggingface" if converted else "packed"
    _check_token_count(gguf, config)
    tokenizer = converted.tokenizer if converted else pack_tokenizer(gguf.metadata)
    files = license_paths(list(opened.licenses))
    return BundlePlan(
        name=bundle_name(name, gguf.metadata, opened.stem),
        gguf=gguf,
        config=config,
        quantization=quantization_name(gguf),
        engines=("kernel",),
        parameters=sum(tensor.elements for tensor in gguf.tensors),
        license=describe_license(gguf.metadata, tuple(files)),
        tokenizer=tokenizer,
        tokenizer_format=kind,
        embedding=settings.embedding if settings else None,
        reader=load_tokenizer(kind, tokenizer),
        chat_template=_chat_template(gguf),
        files=files,
    )


def bundle_name(given: str | None, metadata: Mapping[str, Any], stem: str) -> str:
    """The bundle's name: as given, or the model's own, or the file's, in plain letters.

    Raises `RequestError` where that would take more from a given name than case and spaces.
    """
    if given is not None:
        return _given_name(given)
    own = metadata.get("general.name")
    text = (own if isinstance(own, str) else "") or stem
    return _plain(text)[:MAX_NAME] or "model"


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._")


def _given_name(text: str) -> str:
    name = _plain(text)
    foreign = ", ".join(dict.fromkeys(repr(one) for one in text if not one.isascii()))
    if foreign:
        problem = f"has {foreign}"
    elif not name:
        problem = "has none"
    elif len(name) > MAX_NAME:
        problem = f"has {len(name)} characters, more than {MAX_NAME}"
    else:
        return name
    raise RequestError(
        f"--name {text:.200}: {problem}; a bundle's name is made of the letters a to z, digits, "
        "'.', '_' and '-'"
    )


def quantization_name(gguf: GgufFile) -> str:
    """What the file's mixture of types is called, or the type that has most of its bytes."""
    named = FILE_TYPES.get(gguf.metadata.get("general.file_type", -1))
    sizes: Counter[str] = Counter()
    for tensor in gguf.tensors:
        sizes[tensor.type] += tensor.size
    return named or max(sizes, key=lambda kind: sizes[kind])


def tensor_entries(gguf: GgufFile) -> tuple[TensorEntry, ...]:
    """The manifest's tensors, in the order of the file."""
    ordered = sorted(gguf.tensors, key=lambda tensor: tensor.offset)
    return tuple(TensorEntry(t.name, t.type, t.shape, t.offset, t.size) for t in ordered)


def _refuse_split(gguf: GgufFile) -> None:
    parts = gguf.metadata.get("split.count", 1)
    if isinstance(parts, int) and parts > 1:
        raise UnsupportedModelError(
            f"{gguf.name}: is one of {parts} files of a split model; put them all into one folder "
            "under the names NAME-00001-of-…, and package the first of them or the folder"
        )


def _check_tensors(gguf: GgufFile, config: ModelConfig) -> None:
    """Every tensor that is needed with its shape, none that would be left out, types that run."""
    tensors = {tensor.name: tensor for tensor in gguf.tensors}
    expected = {tensor.name: tensor for tensor in expected_tensors(config)}
    for name, tensor in tensors.items():
        if name not in expected:
            raise UnsupportedModelError(
                f"{gguf.name}: tensor {name!r} at byte {gguf.offsets[name]} is not part of "
                f"{config.architecture} as it is computed here; leaving it out would give wrong "
                "text, so this model is not supported"
            )
        supported = KERNEL_TYPES if len(expected[name].shape) > 1 else ("F32",)
        if tensor.type not in supported:
            raise UnsupportedModelError(
                f"{gguf.name}: tensor {name!r} at byte {gguf.offsets[name]} has the type "
                f"{tensor.type}, which is not supported; supported: {', '.join(supported)} "
                "(quantize the model again, for example to Q4_K_M or Q8_0)"
            )
    for name, wanted in expected.items():
        found = tensors.get(name)
        if found is None and wanted.required:
            raise FormatError(gguf.name, name, gguf.data_offset, "this tensor is missing")
        if found is not None and not wanted.fits(found.shape):
            raise FormatError(
                gguf.name,
                name,
                gguf.offsets[name],
                f"must have the shape {list(wanted.shape)}, has {list(found.shape)}",
            )


def _check_token_count(gguf: GgufFile, config: ModelConfig) -> None:
    tokens = gguf.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or len(tokens) != config.n_vocab:
        have = len(tokens) if isinstance(tokens, list) else "no"
        raise FormatError(
            gguf.name,
            "tokenizer.ggml.tokens",
            gguf.offsets.get("tokenizer.ggml.tokens", 0),
            f"the model has {config.n_vocab} embeddings and {have} tokens",
        )


def _chat_template(gguf: GgufFile) -> bytes | None:
    key = "tokenizer.chat_template"
    template = gguf.metadata.get(key)
    if template is None:
        return None
    if not isinstance(template, str):
        raise FormatError(gguf.name, key, gguf.offsets[key], "must be a string")
    data = template.encode("utf-8")
    if len(data) > MAX_CHAT_TEMPLATE_BYTES:
        raise FormatError(
            gguf.name, key, gguf.offsets[key], f"is longer than {MAX_CHAT_TEMPLATE_BYTES} bytes"
        )
    return data
