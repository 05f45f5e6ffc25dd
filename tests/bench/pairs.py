"""Models to measure drafts with, made of the demo model: no package index has a large one and a
small one of one family.

A target with ten times the layers computes what the demo model computes, at several times the cost:
the matrices that lead out of the further layers are zero, so they add nothing. With it, the demo
model itself stands for a draft that is always right, the demo model in Q4_0 for a good one, and the
demo model without its last layers for a bad one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

from mlr_build.cli import main as mlr_build
from tests.support.gguf_copy import add_metadata

__all__ = ["Tensor", "coarse", "cut", "package", "read", "stretched", "widened"]

Q4_0, F16 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.F16
OUT = ("attn_output", "ffn_down")  # the matrices that lead back to the residual stream

Tensor = tuple[str, NDArray[np.uint8], gguf.GGMLQuantizationType]
"""Name, bytes in the file's shape, and type."""


def read(path: Path) -> list[Tensor]:
    """The tensors of a GGUF file."""
    return [(t.name, t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors]


def stretched(tensors: list[Tensor], times: int) -> Iterator[Tensor]:
    """So many times the layers, of which only the first ones add anything."""
    layers = _layers(tensors)
    for name, data, kind in tensors:
        yield name, data, kind
        if name.startswith("blk."):
            _, layer, matrix, part = name.split(".")
            zero = matrix in OUT
            copy = quantize(np.zeros_like(dequantize(data, kind)), Q4_0) if zero else data
            for n in range(1, times):
                further = f"blk.{int(layer) + n * layers}.{matrix}.{part}"
                yield further, copy, Q4_0 if zero else kind


def cut(tensors: list[Tensor], layers: int) -> Iterator[Tensor]:
    """The first so many layers alone."""
    for name, data, kind in tensors:
        if not name.startswith("blk.") or int(name.split(".")[1]) < layers:
            yield name, data, kind


def coarse(tensors: list[Tensor]) -> Iterator[Tensor]:
    """The layers' matrices in Q4_0."""
    for name, data, kind in tensors:
        if name.startswith("blk.") and data.ndim == 2:
            yield name, quantize(dequantize(data, kind), Q4_0), Q4_0
        else:
            yield name, data, kind


def widened(tensors: list[Tensor]) -> Iterator[Tensor]:
    """All matrices in F16."""
    for name, data, kind in tensors:
        if data.ndim == 2:
            yield name, dequantize(data, kind).astype(np.float16), F16
        else:
            yield name, data, kind


def package(source: Path, tensors: Iterator[Tensor], name: str, folder: Path) -> Path:
    """The bundle of a model with the metadata of `source`, with as many layers as there are."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    parts = list(tensors)
    path = folder / f"{name}.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    add_metadata(writer, reader)
    writer.add_block_count(_layers(parts))
    for tensor, data, kind in parts:
        writer.add_tensor(tensor, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    bundle = folder / name
    assert mlr_build(["package", str(path), "--out", str(bundle), "--name", name]) == 0
    path.unlink()
    return bundle


def _layers(tensors: list[Tensor]) -> int:
    return 1 + max(int(name.split(".")[1]) for name, _, _ in tensors if name.startswith("blk."))
