"""Thousands of positions: rotary angles, biases and attention far from the beginning.

The other comparisons end after 150 tokens. Here the kernel's last logits of a long text are held
to the reference engine's in float64, which rounds what attention multiplies to 16 bits as the
kernel does. What is left is float32's rounding, and a number here and there on the other side of an
edge between two steps of the rounding.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlr.engines.reference import ReferenceEngine
from tests.support.architectures import CASES
from tests.support.kernels import every_logits, open_kernel
from tests.support.tensors import read_tensors

CONTEXT = 2500
LAST = 16  # tokens at the end whose logits are compared
TOKENS = [int(token) for token in np.random.default_rng(5).integers(3, 300, CONTEXT)]

# Every kind of position, in one layer.
VARIANTS: dict[str, dict[str, Any]] = {
    "llama-3": {},
    "qwen2-yarn": {"rope_original_context": CONTEXT // 4},
    "phi3-longrope": {"rope_original_context": 512},
    "mpt": {},  # ALiBi
    "gpt2": {},  # learned
    "gemma3": {"n_layers": 2, "sliding_pattern": 2},  # a ring that is gone around, a global layer
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_last_logits(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    fields = {"context_length": CONTEXT, "n_layers": 1, **VARIANTS[name]}
    path = replace(case, config=replace(case.config, **fields)).build(tmp_path)
    tensors = read_tensors(path)
    reference = ReferenceEngine.from_tensors(*tensors, CONTEXT, "float64", kernel_rounding=True)
    reference.evaluate(TOKENS[:-LAST], logits=False)
    expected = reference.evaluate_all(TOKENS[-LAST:])
    said = []
    for build, threads, cut in (("relaxed", 1, 64), ("simd", 2, 100)):
        with open_kernel(path, context_length=CONTEXT, build=build, threads=threads) as engine:
            for start in range(0, CONTEXT - LAST, cut):
                engine.evaluate(TOKENS[start : min(start + cut, CONTEXT - LAST)])
            said.append(every_logits(engine, TOKENS[-LAST:]))
    assert said[0].tobytes() == said[1].tobytes()
    error = np.sqrt(np.mean((said[0] - expected) ** 2)) / expected.std()
    assert error < 2e-4
