"""The linear layers of BitNet: ternary matrices, and the number that belongs to each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np

from mlr.errors import FormatError, UnsupportedModelError
from mlr.formats.safetensors import SafetensorsTensor
from mlr_build.gguf_writer import TensorToWrite
from mlr_build.hf_weights import StoredTensor, Weights
from mlr_build.numbers.encoding import FLOAT_DTYPES, floats
from mlr_build.numbers.ternary import (
    PACKED_ROWS,
    Codes,
    encode_codes,
    interleaved,
    mean_magnitude,
    packed_codes,
    rounded_codes,
    ternary_type,
)

__all__ = ["ternary_tensors"]


def ternary_tensors(
    weights: Weights, names: Iterable[tuple[str, str]], layers: str, heads: Mapping[str, int]
) -> list[TensorToWrite]:
    """The matrices of the layers, each with its factor; they are taken out of `weights`.

    `names` are patterns of the matrices' names with what each becomes. `layers` says what they
    hold: "online" floats to be rounded, "multiplied" or "divided" packed weights with a number
    that multiplies or divides what comes out of them. The rows of those in `heads` ("attn_q") are
    interleaved, head by head. Raises `FormatError` for broken ones, and `UnsupportedModelError`
    for other types of numbers.
    """
    found: list[TensorToWrite] = []
    for pattern, becomes in names:
        for old in [name for name in weights if re.fullmatch(pattern, name)]:
            stored, new = weights.pop(old), re.sub(pattern, becomes, old)
            codes: Callable[[], Iterator[Codes]]
            if layers == "online":
                rows, columns = _matrix(stored, FLOAT_DTYPES).shape
                mean = mean_magnitude(stored)
                codes, factor = partial(rounded_codes, stored, mean), np.float32(mean)
            else:
                rows, columns = _matrix(stored, ("U8",)).shape
                rows *= PACKED_ROWS
                scale = weights.pop(old + "_scale", None)
                if scale is None:
                    raise FormatError(stored.source.name, old + "_scale", 0, "is missing")
                codes, factor = partial(packed_codes, stored), _number(scale)
                factor = factor if layers == "multiplied" else np.float32(1) / factor
            n_heads = heads.get(new.split(".")[2], 0)
            if n_heads and rows % (2 * n_heads):
                raise FormatError(
                    stored.source.name, old, stored.tensor.offset, f"has not {n_heads} heads"
                )
            found += [
                _ternary(new, (rows, columns), codes, n_heads),
                _one(new.removesuffix("weight") + "scale", factor),
            ]
    return found


def _ternary(
    name: str, shape: tuple[int, int], codes: Callable[[], Iterator[Codes]], heads: int
) -> TensorToWrite:
    kind = ternary_type(shape[1])

    def blocks() -> Iterator[bytes]:
        return encode_codes(interleaved(codes(), heads) if heads else codes(), kind)

    return TensorToWrite(name, kind, shape, blocks)


def _matrix(stored: StoredTensor, dtypes: tuple[str, ...]) -> SafetensorsTensor:
    tensor = stored.tensor
    if tensor.dtype not in dtypes:
        raise UnsupportedModelError(
            f"{stored.source.name}: tensor {tensor.name!r} has the dtype {tensor.dtype}; by "
            f"config.json's quantization_config it should have {' or '.join(dtypes)}"
        )
    if len(tensor.shape) != 2 or not tensor.size:
        raise FormatError(
            stored.source.name,
            tensor.name,
            tensor.offset,
            f"must be a matrix, has the shape {list(tensor.shape)}",
        )
    return tensor


def _number(stored: StoredTensor) -> np.float32:
    """A tensor's only number, which must be above 0, and so must be 1 divided by it."""
    tensor = stored.tensor
    if tensor.dtype not in FLOAT_DTYPES or tensor.shape not in ((), (1,)):
        raise FormatError(
            stored.source.name,
            tensor.name,
            tensor.offset,
            f"must be one float, is {tensor.dtype} of the shape {list(tensor.shape)}",
        )
    value = floats(stored.source.read_at(tensor.offset, tensor.size), tensor.dtype)[0]
    if not 1e-30 < value < 1e30:
        raise FormatError(
            stored.source.name, tensor.name, tensor.offset, f"is {value}, which scales nothing"
        )
    return np.float32(value)


def _one(name: str, value: np.float32) -> TensorToWrite:
    def blocks() -> Iterator[bytes]:
        yield value.astype("<f4").tobytes()

    return TensorToWrite(name, "F32", (1,), blocks)
