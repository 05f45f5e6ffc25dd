"""A Hugging Face folder as a GGUF file: a table of architectures says what is called how."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlr.bundle.storage import ensure_free
from mlr.errors import FormatError, UnsupportedModelError
from mlr.formats.ggml_types import FILE_TYPES, TYPES
from mlr_build.bert import BERT
from mlr_build.bitnet import BITNET, LLAMA
from mlr_build.gguf_writer import TensorToWrite, write_gguf
from mlr_build.hf_family import Config, Family
from mlr_build.hf_weights import StoredTensor, Weights, open_weights
from mlr_build.huggingface import SentenceSettings, license_of, read_json, sentence_settings
from mlr_build.progress import Progress

__all__ = ["Converted", "convert_folder"]

FAMILIES = {"bert": BERT, "bitnet": BITNET, "llama": LLAMA}


@dataclass(frozen=True, slots=True)
class Converted:
    """What a bundle needs besides the GGUF file."""

    tokenizer: bytes  # the folder's own tokenizer.json
    settings: SentenceSettings | None


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
    metadata = {
        "general.architecture": family.architecture,
        **{f"{family.architecture}.{k}": v for k, v in family.metadata(config, settings).items()},
        **family.tokenizer(folder, config),
    }
    license_id = license_of(folder)
    if license_id:
        metadata["general.license"] = license_id
    with open_weights(folder) as weights:
        tensors = _tensors(weights, family, config, quantization)
        metadata["general.file_type"] = _file_type(tensors, quantization)
        size = sum(tensor.size for tensor in tensors)
        ensure_free(target.parent, size)
        with progress.step("Converting", size) as advance:
            counted = [_counted(tensor, advance) for tensor in tensors]
            write_gguf(target, metadata, counted)
    return Converted((folder / "tokenizer.json").read_bytes(), settings)


def _counted(tensor: TensorToWrite, advance: Callable[[int], None]) -> TensorToWrite:
    def blocks() -> Any:
        for block in tensor.blocks():
            advance(len(block))
            yield block

    return TensorToWrite(tensor.name, tensor.type, tensor.shape, blocks)


def _tensors(
    weights: Weights, family: Family, config: Config, quantization: str
) -> list[TensorToWrite]:
    """The tensors under their new names, to be read when they are written."""
    from mlr_build.numbers.encoding import FLOAT_DTYPES, encode_rows

    own = family.own(weights, config) if family.own else []
    found = {tensor.name: tensor for tensor in own}
    for stored in weights.values():
        source, tensor = stored.source, stored.tensor
        if re.fullmatch(family.ignored, tensor.name):
            continue
        name = _new_name(stored, family)
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


def _new_name(stored: StoredTensor, family: Family) -> str:
    old = stored.tensor.name
    for pattern, name in family.names:
        if re.fullmatch(pattern, old):
            return re.sub(pattern, name, old)
    raise UnsupportedModelError(
        f"{stored.source.name}: tensor {old!r} is not part of {family.architecture} as it is "
        "computed here; leaving it out would give wrong results"
    )


def _type(name: str, shape: tuple[int, ...], family: Family, quantization: str) -> str:
    if len(shape) < 2 or re.fullmatch(family.kept, name):
        return "F32"
    kind = quantization.upper()
    return kind if shape[-1] % TYPES[kind].block_size == 0 else "F16"


def _order(name: str) -> tuple[int, str]:
    match = re.match(r"blk\.(\d+)\.", name)
    return (int(match[1]) + 1 if match else 0 if not name.startswith("cls") else 1 << 20, name)


def _file_type(tensors: list[TensorToWrite], quantization: str) -> int:
    ternary = any(tensor.type == "TQ2_0" for tensor in tensors)
    kind = "TQ2_0" if ternary else quantization.upper()
    return next(number for number, name in FILE_TYPES.items() if name == kind)
