"""A GGUF file's tensors, read by the `gguf` package: the oracle of mlr's own reader."""

from __future__ import annotations

import os

import gguf

from mlr.formats.model_config import ModelConfig

__all__ = ["Tensors", "read_tensors"]

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]  # type, shape (rows, columns), bytes


def read_tensors(path: str | os.PathLike[str]) -> tuple[ModelConfig, Tensors]:
    """The configuration and every tensor of a GGUF file."""
    reader = gguf.GGUFReader(path)
    prefixes = (str(reader.fields["general.architecture"].contents()), "general.")
    metadata = {
        key: field.contents() for key, field in reader.fields.items() if key.startswith(prefixes)
    }
    tensors = {
        tensor.name: (
            tensor.tensor_type.name,
            tuple(int(size) for size in tensor.shape[::-1]),
            tensor.data.tobytes(),
        )
        for tensor in reader.tensors
    }
    shapes = {name: shape for name, (_, shape, _) in tensors.items()}
    return ModelConfig.from_gguf(metadata, shapes), tensors
