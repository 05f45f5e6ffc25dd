"""What is in a model or a bundle and what it needs, as JSON-ready data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from mlr.bundle.manifest import Manifest
from mlr.errors import FormatError, LoadError
from mlr.formats.detect import require_packageable
from mlr.formats.gguf import read_gguf
from mlr.formats.model_config import ModelConfig
from mlr_build.licenses import describe_license, license_paths
from mlr_build.plan import bundle_name, plan_bundle, quantization_name
from mlr_build.sources import OpenedSource

__all__ = ["describe_bundle", "describe_source", "kv_cache_bytes"]

CONTEXT_LENGTHS = (512, 2048, 8192, 32768, 131072)
_KV_ELEMENT_BYTES = 2
_SHOWN_TEXT = 200  # characters of a metadata value


class _Tensor(Protocol):
    @property
    def type(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def size(self) -> int: ...


def describe_source(opened: OpenedSource) -> dict[str, Any]:
    """What a model file holds. One that cannot run has no engines and says why in `problem`.

    Raises `UnsupportedModelError` for a format that is not read, `FormatError` for a broken file.
    """
    found = require_packageable(opened.source)
    gguf = read_gguf(opened.source)
    metadata = gguf.metadata
    problem: str | None = None
    engines: tuple[str, ...] = ()
    try:
        engines = plan_bundle(opened, None).engines
    except LoadError as error:
        problem = str(error)
    try:
        shapes = {tensor.name: tensor.shape for tensor in gguf.tensors}
        config = ModelConfig.from_gguf(metadata, shapes, gguf.name)
    except (FormatError, LoadError):
        config = None
    tokens = metadata.get("tokenizer.ggml.tokens")
    return {
        "kind": "source",
        "format": found.title,
        "format_version": gguf.version,
        "name": bundle_name(None, metadata, opened.stem),
        "architecture": metadata.get("general.architecture"),
        "quantization": quantization_name(gguf) if gguf.tensors else None,
        "parameters": sum(tensor.elements for tensor in gguf.tensors),
        "context_length": config.context_length if config else None,
        "vocabulary_size": len(tokens) if isinstance(tokens, list) else None,
        "tokenizer": metadata.get("tokenizer.ggml.model"),
        "chat_template": "tokenizer.chat_template" in metadata,
        "license": asdict(describe_license(metadata, tuple(license_paths(list(opened.licenses))))),
        "origin": {"source": opened.origin, "version": opened.version, "sha256": opened.sha256},
        "engines": list(engines),
        "problem": problem,
        "requirements": _requirements(opened.source.size, gguf.tensors, config),
        "tensors": _tensor_types(gguf.tensors),
        "metadata": {key: _shorten(value) for key, value in metadata.items()},
    }


def describe_bundle(manifest: Manifest) -> dict[str, Any]:
    """What a bundle holds, from its manifest. Its files are verified when they are loaded."""
    variant = manifest.variants[0]
    small = [manifest.tokenizer.size, *(entry.size for entry in manifest.files)]
    if manifest.chat_template:
        small.append(manifest.chat_template.size)
    return {
        "kind": "bundle",
        "format": "mlr bundle",
        "format_version": manifest.to_json()["schema_version"],
        "name": manifest.name,
        "architecture": manifest.architecture,
        "quantization": variant.quantization,
        "parameters": manifest.parameters,
        "context_length": manifest.context_length,
        "vocabulary_size": variant.config.n_vocab,
        "tokenizer": manifest.tokenizer.format,
        "chat_template": manifest.chat_template is not None,
        "license": asdict(manifest.license),
        "origin": asdict(manifest.origin),
        "engines": list(variant.engines),
        "problem": None,
        "requirements": _requirements(variant.size + sum(small), variant.tensors, variant.config),
        "tensors": _tensor_types(variant.tensors),
        "variants": [
            {
                "id": each.id,
                "quantization": each.quantization,
                "engines": list(each.engines),
                "size": each.size,
                "shards": len(each.shards),
                "sha256": each.sha256,
            }
            for each in manifest.variants
        ],
    }


def kv_cache_bytes(config: ModelConfig, context_length: int) -> int:
    """Bytes of a KV cache in 16 bits, but for its scales.

    Layers with a sliding window keep no more than the window. An encoder keeps nothing between its
    texts.
    """
    if not config.causal:
        return 0
    per_token = 2 * config.n_kv_heads * config.head_dim * _KV_ELEMENT_BYTES
    total = 0
    for layer in range(config.n_layers):
        kept = min(context_length, config.sliding_window) if config.slides(layer) else None
        total += per_token * (context_length if kept is None else kept)
    return total


def _requirements(
    download: int, tensors: Iterable[_Tensor], config: ModelConfig | None
) -> dict[str, Any]:
    lengths = [n for n in CONTEXT_LENGTHS if config and n < config.context_length]
    return {
        "download_bytes": download,
        "weights_bytes": sum(tensor.size for tensor in tensors),
        "kv_cache_bytes": {
            str(length): kv_cache_bytes(config, length)
            for length in [*lengths, config.context_length]
        }
        if config
        else None,
    }


def _tensor_types(tensors: Iterable[_Tensor]) -> dict[str, Any]:
    """How many tensors, parameters and bytes each type has, the largest first."""
    types: dict[str, dict[str, int]] = {}
    count = 0
    for tensor in tensors:
        count += 1
        entry = types.setdefault(tensor.type, {"count": 0, "parameters": 0, "bytes": 0})
        elements = 1
        for length in tensor.shape:
            elements *= length
        entry["count"] += 1
        entry["parameters"] += elements
        entry["bytes"] += tensor.size
    ordered: Mapping[str, dict[str, int]] = dict(
        sorted(types.items(), key=lambda item: (-item[1]["bytes"], item[0]))
    )
    return {"count": count, "types": ordered}


def _shorten(value: Any) -> Any:
    """A metadata value short enough to look at, and valid in JSON."""
    if isinstance(value, list):
        return f"[{len(value)} items]" if len(value) > 16 else [_shorten(item) for item in value]
    if isinstance(value, str) and len(value) > _SHOWN_TEXT:
        return f"{value[:_SHOWN_TEXT]}… ({len(value)} characters)"
    if isinstance(value, float) and not -1e308 <= value <= 1e308:
        return str(value)  # not a number, or infinite
    return value
