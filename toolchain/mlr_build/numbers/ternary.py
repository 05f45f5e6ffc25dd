"""Ternary matrices of BitNet as GGUF's TQ2_0, with a factor beside them instead of one inside.

A block of TQ2_0 is 256 weights of two bits (-1, 0, 1 as 0, 1, 2) and a float16 factor. Here that
is 1, and the matrix's own factor is a tensor of one float32, which loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from mlr.errors import FormatError
from mlr.formats.ggml_types import TYPES
from mlr_build.hf_weights import StoredTensor
from mlr_build.numbers.encoding import floats, whole_rows

__all__ = [
    "PACKED_ROWS",
    "Codes",
    "encode_codes",
    "interleaved",
    "mean_magnitude",
    "packed_codes",
    "rounded_codes",
    "ternary_type",
]

PACKED_ROWS = 4  # that a stored row of bytes holds
_LEAST_MAGNITUDE = 1e-5
_ONE = np.frombuffer(np.float16(1).tobytes(), np.uint8)

Codes = NDArray[np.uint8]  # (rows, columns) of weights + 1


def ternary_type(columns: int) -> str:
    """TQ2_0, or, for rows that are no whole blocks of it, F16, which holds -1, 0 and 1 as well."""
    return "F16" if columns % TYPES["TQ2_0"].block_size else "TQ2_0"


def packed_codes(stored: StoredTensor) -> Iterator[Codes]:
    """The rows of a packed matrix, a few at a time, from bytes (rows / 4, columns).

    The two lowest bits of all bytes are the first quarter of the rows, the next two the second,
    and so on. Raises `FormatError` for bits that are no ternary weight.
    """
    source, tensor = stored.source, stored.tensor
    for shift in range(0, 2 * PACKED_ROWS, 2):
        for offset, data in whole_rows(source, tensor):
            codes = (np.frombuffer(data, np.uint8) >> shift & 3).astype(np.uint8)
            if codes.max() > 2:
                place = offset + int(codes.argmax())
                raise FormatError(source.name, tensor.name, place, "holds 3, which is not ternary")
            yield codes.reshape(-1, tensor.shape[1])


def mean_magnitude(stored: StoredTensor) -> float:
    """What weights are divided by to be rounded: their mean magnitude.

    Raises `FormatError` for weights that are not finite.
    """
    total, tensor = 0.0, stored.tensor
    for _, data in whole_rows(stored.source, tensor):
        total += float(np.abs(floats(data, tensor.dtype)).sum(dtype=np.float64))
    mean = total / math.prod(tensor.shape)
    if not math.isfinite(mean):
        raise FormatError(
            stored.source.name, tensor.name, tensor.offset, "holds a weight that is not finite"
        )
    return max(mean, _LEAST_MAGNITUDE)


def rounded_codes(stored: StoredTensor, mean: float) -> Iterator[Codes]:
    """The rows of a matrix of floats: -1, 0 or 1, whichever times `mean` is nearest."""
    tensor, scale = stored.tensor, np.float32(1) / np.float32(mean)
    for _, data in whole_rows(stored.source, tensor):
        rounded = np.rint(floats(data, tensor.dtype) * scale)
        yield (np.clip(rounded, -1, 1) + 1).astype(np.uint8).reshape(-1, tensor.shape[1])


def interleaved(codes: Iterable[Codes], heads: int) -> Iterator[Codes]:
    """The rows in the order of GGUF's Llama: of each head, row i and row i + d/2 are neighbours."""
    rows = np.concatenate(list(codes))
    halves = rows.reshape(heads, 2, -1, rows.shape[1])
    yield halves.swapaxes(1, 2).reshape(rows.shape)


def encode_codes(codes: Iterable[Codes], kind: str) -> Iterator[bytes]:
    """Rows of weights + 1 as `kind`."""
    for rows in codes:
        yield (rows.astype("<f2") - np.float16(1)).tobytes() if kind == "F16" else _tq2_0(rows)


def _tq2_0(codes: Codes) -> bytes:
    groups = codes.reshape(-1, 2, 4, 32)  # a byte holds weights that are 32 apart
    bits = np.array([1, 4, 16, 64], np.uint8)[:, None]
    quants = (groups * bits).sum(axis=2, dtype=np.uint8).reshape(-1, 64)
    factors = np.broadcast_to(_ONE, (len(quants), 2))
    return np.hstack([quants, factors]).tobytes()
