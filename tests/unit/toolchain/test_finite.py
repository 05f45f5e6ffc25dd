"""What is not finite is found in every type: the reference engine's numbers are the oracle."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mlr.engines.reference.dequantize import dequantize
from mlr.errors import FormatError
from mlr.formats.ggml_types import KERNEL_TYPES, TYPES
from mlr.formats.gguf import GgufTensor
from mlr_build.finite import HALVES, WIDE, FiniteCheck

EXPONENTS = ("MXFP4",)  # its scales are powers of two, every one of them finite
START = 64


def check(tensors: list[GgufTensor], data: bytes, step: int) -> None:
    """Look at `data`, which begin at START of a file, in pieces."""
    seen = FiniteCheck(cast(Any, SimpleNamespace(name="m.gguf", tensors=tuple(tensors))))
    for at in range(0, len(data), step):
        seen.see(START + at, data[at : at + step])


def test_every_type_is_known() -> None:
    assert {*HALVES, *WIDE, *EXPONENTS} == set(KERNEL_TYPES)


@pytest.mark.parametrize("kind", [*HALVES, *WIDE])
def test_it_finds_what_the_reference_engine_computes(kind: str) -> None:
    rng = np.random.default_rng([*kind.encode()])
    block = TYPES[kind]
    verdicts = []
    for _ in range(200):
        size = int(rng.integers(1, 25)) * (4 if block.block_size == 1 else 1)
        data = rng.integers(0, 256, size * block.block_bytes, np.uint8).tobytes()
        with np.errstate(all="ignore"):
            values = dequantize(kind, data, (1, size * block.block_size), "float64")
        tensor = GgufTensor("t", kind, (1, values.size), START, len(data))
        step = 4 * int(rng.integers(1, 200))
        damaged = not np.isfinite(values).all()
        verdicts.append(damaged)
        if damaged:
            with pytest.raises(FormatError, match=r"^m\.gguf: t at byte 64: holds infinite"):
                check([tensor], data, step)
        else:
            check([tensor], data, step)
    assert 10 < sum(verdicts) < 190, "both come often"


def test_the_first_of_several_tensors_is_named() -> None:
    """What lies between tensors is none of them."""
    numbers = np.zeros(64, np.float32)
    tensors = [GgufTensor(name, "F32", (8,), START + 64 * i, 32) for i, name in enumerate("abcd")]
    numbers[8:16] = np.nan  # between a and b
    check(tensors, numbers.tobytes(), 4)
    numbers[16 * 3] = np.inf
    numbers[16 * 2 + 7] = -np.inf
    for step in (4, 32, 64, 100, 256):
        with pytest.raises(FormatError, match=": c at byte 192: "):
            check(tensors, numbers.tobytes(), step)
