"""Whether a model's numbers are finite: of what is not, nothing but nonsense comes.

Numbers in 16 and 32 bits are looked at, and of quantized blocks the scales, which makes a bad one
cost 32 weights or 256. It takes a fifth of the time of hashing the same bytes once, or less.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from mlr.errors import FormatError
from mlr.formats.expected_tensors import NOT_FINITE
from mlr.formats.ggml_types import TYPES
from mlr.formats.gguf import GgufFile, GgufTensor

__all__ = ["FiniteCheck"]

# Where in a block the upper bytes of numbers in float16 are; little-endian.
HALVES: dict[str, tuple[int, ...]] = {
    "F16": (1,),
    "Q4_0": (1,),
    "Q4_1": (1, 3),
    "Q5_0": (1,),
    "Q5_1": (1, 3),
    "Q8_0": (1,),
    "IQ4_NL": (1,),
    "Q2_K": (81, 83),
    "Q3_K": (109,),
    "Q4_K": (1, 3),
    "Q5_K": (1, 3),
    "Q6_K": (209,),
    "IQ4_XS": (1,),
    "TQ1_0": (53,),
    "TQ2_0": (65,),
}
ALL_ONES = (0x7C, 0x7D, 0x7E, 0x7F, 0xFC, 0xFD, 0xFE, 0xFF)  # upper bytes with such an exponent
WIDE = ("F32", "BF16")  # the exponent has 8 bits, of which the upper byte has 7


class FiniteCheck:
    """Sees a file piece by piece, in order and without gaps."""

    def __init__(self, gguf: GgufFile) -> None:
        self._name = gguf.name
        self._tensors = deque(sorted(gguf.tensors, key=lambda tensor: tensor.offset))

    def see(self, offset: int, data: bytes) -> None:
        """Look at the bytes that begin at `offset`. Raises `FormatError` naming the tensor."""
        end = offset + len(data)
        while self._tensors and self._tensors[0].offset < end:
            tensor = self._tensors[0]
            start, stop = max(tensor.offset, offset), min(tensor.offset + tensor.size, end)
            if _is_damaged(tensor, start - tensor.offset, data[start - offset : stop - offset]):
                raise FormatError(self._name, tensor.name, tensor.offset, NOT_FINITE)
            if stop < tensor.offset + tensor.size:
                break
            self._tensors.popleft()


def _is_damaged(tensor: GgufTensor, place: int, piece: bytes) -> bool:
    """Whether `piece`, which begins at byte `place` of the tensor, holds what is not finite."""
    size = TYPES[tensor.type].block_bytes
    if tensor.type in HALVES:
        uppers = HALVES[tensor.type]
        return any(_holds(piece[(upper - place) % size :: size], ALL_ONES) for upper in uppers)
    if tensor.type in WIDE:  # tensors and pieces begin at multiples of the size
        upper = piece[size - 1 :: size]
        # as good as never: numbers from 1.7e38 on
        return _holds(upper, (0x7F, 0xFF)) and any(
            one & 0x7F == 0x7F and other & 0x80
            for one, other in zip(upper, piece[size - 2 :: size], strict=True)
        )
    return False


def _holds(data: bytes, values: Iterable[int]) -> bool:
    return any(value in data for value in values)
