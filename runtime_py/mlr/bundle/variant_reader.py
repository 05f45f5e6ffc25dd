"""A variant of a manifest, checked: its shards, its tensors, and what they say about each other."""

from __future__ import annotations

import re
from typing import Any

from mlr.bundle.checked import CheckedObject
from mlr.bundle.manifest import Shard, TensorEntry, Variant
from mlr.errors import FormatError, ManifestError
from mlr.formats.expected_tensors import expected_tensors
from mlr.formats.ggml_types import KERNEL_TYPES, TYPES, row_bytes
from mlr.formats.model_config import ModelConfig

__all__ = ["MAX_BYTES", "MAX_CHUNK_BYTES", "NAME", "PATH", "SHA256", "read_variant"]

MAX_SHARDS = 1 << 16
MAX_CHUNKS = 1 << 17
MAX_TENSORS = 1 << 16
MAX_BYTES = 1 << 42
MIN_CHUNK_BYTES = 1 << 12
MAX_CHUNK_BYTES = 1 << 20  # a chunk passes through the kernel's staging buffer whole

SHA256 = re.compile("[0-9a-f]{64}")
# Every segment begins with a letter, a digit or _, so none can be "..", a drive or a root.
PATH = re.compile("[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,7}")
NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ENGINE = re.compile("[a-z][a-z0-9-]{0,31}")


def read_variant(value: Any, where: str, path: str) -> Variant:
    """The variant at `path` of the manifest `where`.

    Raises `ManifestError`, or `UnsupportedModelError` for a model that cannot be computed.
    """
    entry = CheckedObject(value, where, path, Variant.__dataclass_fields__)
    chunk_size = entry.integer("chunk_size", MIN_CHUNK_BYTES, MAX_CHUNK_BYTES)
    if chunk_size & (chunk_size - 1):
        raise entry.error("chunk_size", f"must be a power of two, got {chunk_size}")
    try:
        if not isinstance(entry.raw("config"), dict):
            raise entry.error("config", "must be an object")
        config = ModelConfig.from_json(entry.raw("config"))
    except FormatError as error:
        raise entry.error(f"config.{error.field}", error.problem) from error
    size = entry.integer("size", 1, MAX_BYTES)
    variant = Variant(
        id=entry.text("id", 100, NAME),
        format=entry.text("format", 40, re.compile("gguf")),
        quantization=entry.text("quantization", 40, re.compile("[A-Za-z0-9_]+")),
        engines=entry.items("engines", 1, 16, lambda item, at: _engine(item, where, at)),
        size=size,
        sha256=entry.text("sha256", 64, SHA256),
        data_offset=entry.integer("data_offset", 0, size),
        chunk_size=chunk_size,
        shards=entry.items("shards", 1, MAX_SHARDS, lambda item, at: _shard(item, where, at)),
        config=config,
        tensors=entry.items("tensors", 1, MAX_TENSORS, lambda item, at: _tensor(item, where, at)),
    )
    _check_shards(variant, entry)
    _check_tensors(variant, entry)
    return variant


def _hash(value: Any, where: str, path: str) -> str:
    if not isinstance(value, str) or not SHA256.fullmatch(value):
        raise ManifestError(f"{where}: {path}: must be a SHA-256 in lower hexadecimal digits")
    return value


def _engine(value: Any, where: str, path: str) -> str:
    if not isinstance(value, str) or not _ENGINE.fullmatch(value):
        raise ManifestError(f"{where}: {path}: {value!r:.60} is not the name of an engine")
    return value


def _shard(value: Any, where: str, path: str) -> Shard:
    entry = CheckedObject(value, where, path, Shard.__dataclass_fields__)
    shard = Shard(
        file=entry.text("file", 255, PATH),
        size=entry.integer("size", 1, MAX_BYTES),
        sha256=entry.text("sha256", 64, SHA256),
        chunks=entry.items("chunks", 1, MAX_CHUNKS, lambda item, at: _hash(item, where, at)),
    )
    if shard.file != f"shards/{shard.sha256}":
        raise entry.error("file", "must be shards/ and the shard's SHA-256")
    return shard


def _tensor(value: Any, where: str, path: str) -> TensorEntry:
    entry = CheckedObject(value, where, path, TensorEntry.__dataclass_fields__)

    def dimension(item: Any, at: str) -> int:
        if isinstance(item, bool) or not isinstance(item, int) or not 1 <= item <= MAX_BYTES:
            raise ManifestError(f"{where}: {at}: must be a positive integer, got {item!r:.60}")
        return item

    tensor = TensorEntry(
        name=entry.text("name", 64),
        type=entry.text("type", 16),
        shape=entry.items("shape", 1, 4, dimension),
        offset=entry.integer("offset", 0, MAX_BYTES),
        size=entry.integer("size", 1, MAX_BYTES),
    )
    kind = TYPES.get(tensor.type)
    if kind is None:
        raise entry.error("type", f"{tensor.type!r} is not a known tensor type")
    rows = 1
    for length in tensor.shape[:-1]:
        rows *= length
    try:
        size = rows * row_bytes(kind, tensor.shape[-1])
    except ValueError as error:
        raise entry.error("shape", str(error)) from error
    if size != tensor.size:
        raise entry.error("size", f"{list(tensor.shape)} of {kind.name} takes {size} bytes")
    return tensor


def _check_shards(variant: Variant, entry: CheckedObject) -> None:
    """Sizes add up, and every shard but the last is whole chunks."""
    total, last = 0, len(variant.shards) - 1
    sizes: dict[str, int] = {}
    for index, shard in enumerate(variant.shards):
        total += shard.size
        if index != last and shard.size % variant.chunk_size:
            raise entry.error(f"shards[{index}].size", "is not a multiple of chunk_size")
        expected = -(-shard.size // variant.chunk_size)
        if len(shard.chunks) != expected:
            raise entry.error(
                f"shards[{index}].chunks", f"must have {expected} items, has {len(shard.chunks)}"
            )
        if sizes.setdefault(shard.sha256, shard.size) != shard.size:
            raise entry.error(f"shards[{index}].size", "differs from that of the same shard before")
    if total != variant.size:
        raise entry.error("size", f"is {variant.size}, but the shards have {total} bytes together")


def _check_tensors(variant: Variant, entry: CheckedObject) -> None:
    """Exactly the tensors that the architecture computes with, inside the file, not overlapping."""
    tensors = {tensor.name: tensor for tensor in variant.tensors}
    if len(tensors) != len(variant.tensors):
        raise entry.error("tensors", "a name is there twice")
    known = set()
    for expected in expected_tensors(variant.config):
        known.add(expected.name)
        tensor = tensors.get(expected.name)
        if tensor is None:
            if expected.required:
                raise entry.error("tensors", f"{expected.name} is missing")
        elif not expected.fits(tensor.shape):
            raise entry.error(
                "tensors",
                f"{expected.name} must have the shape {list(expected.shape)}, "
                f"has {list(tensor.shape)}",
            )
    end = variant.data_offset
    for tensor in sorted(variant.tensors, key=lambda tensor: tensor.offset):
        if tensor.name not in known:
            raise entry.error(
                "tensors", f"{tensor.name!r} is not a tensor of {variant.config.architecture}"
            )
        if tensor.offset < end:
            raise entry.error("tensors", f"{tensor.name} overlaps what lies before it")
        end = tensor.offset + tensor.size
        if "kernel" in variant.engines and tensor.type not in KERNEL_TYPES:
            raise entry.error("engines", f"the kernel does not compute with {tensor.type}")
    if end > variant.size:
        raise entry.error("tensors", "the last tensor ends after the file")
