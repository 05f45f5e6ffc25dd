"""llama.cpp itself, live: the golden files are what it computes, and mlr follows it elsewhere too.

llama.cpp's sums depend on the processor, so the demo model's logits are compared with the
tolerance that its own variations give (see test_kernel_goldens.py), and float32 models closely.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.engines.make_goldens import GOLDEN, chosen, compare, top_logits
from tests.support.kernels import every_logits, open_kernel
from tests.support.llama_oracle import forced, greedy, logits_at_every_token, open_model
from tests.support.tiny_cases import (
    FLOAT_CASES,
    POSITIONS,
    TOKENS,
    TYPE_CASES,
    TinyCase,
)

pytestmark = pytest.mark.oracle

# Not in the golden file.
PROMPTS = [
    "Q: What is the boiling point of water?\nA:",
    "Il était une fois, dans une petite ville au bord de la mer,",
    "SELECT name, price FROM products WHERE",
    "Однажды вечером старый рыбак",
]
STEPS = 32


@pytest.fixture(scope="module")
def llama(demo_gguf: Path) -> Iterator[Any]:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    with open_model(demo_gguf, 512) as model:
        yield model


@pytest.mark.parametrize("case", FLOAT_CASES, ids=lambda case: case.name)
def test_goldens_of_float_models(case: TinyCase, tiny: Callable[[TinyCase], Path]) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    with np.load(GOLDEN / "tiny.npz") as golden:
        expected = golden[f"floats/{case.name}"]
    logits = logits_at_every_token(tiny(case), TOKENS)[POSITIONS["floats"]]
    assert np.abs(logits - expected).max() < 3e-2


@pytest.mark.parametrize("case", TYPE_CASES, ids=lambda case: case.name)
def test_kernel_on_every_type(case: TinyCase, tiny: Callable[[TinyCase], Path]) -> None:
    """Two computations that round alike are as far apart as two random roundings: 1% to 6%."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    path = tiny(case)
    expected = logits_at_every_token(path, TOKENS)
    with open_kernel(path, context_length=len(TOKENS)) as kernel:
        ours = every_logits(kernel, TOKENS)
    assert np.sqrt(np.mean((ours - expected) ** 2)) / expected.std() < 0.09


@pytest.mark.demo_model
def test_goldens_of_the_demo_model(llama: Any) -> None:
    golden = json.loads((GOLDEN / "demo.json").read_text(encoding="utf-8"))
    for prompt in golden["prompts"]:
        assert llama.tokenize(prompt["text"].encode()) == prompt["prompt_ids"]
        logits = forced(llama, prompt["prompt_ids"], chosen(prompt["steps"]))
        own = max(variation["rms"] for variation in prompt["variations"].values())
        assert compare(prompt["steps"], logits)["rms"] < 1.25 * own


@pytest.mark.demo_model
def test_other_prompts(llama: Any, demo_gguf: Path) -> None:
    """Teacher-forced along llama.cpp: as near to it as the golden prompts show to be normal."""
    golden = json.loads((GOLDEN / "demo.json").read_text(encoding="utf-8"))
    variations = [v for prompt in golden["prompts"] for v in prompt["variations"].values()]
    usual, overturned = max(v["rms"] for v in variations), 0
    with open_kernel(demo_gguf, context_length=512, threads=2) as kernel:
        for text in PROMPTS:
            ids = llama.tokenize(text.encode())
            steps = [top_logits(logits) for logits in greedy(llama, ids, STEPS)]
            kernel.truncate(0)
            kernel.evaluate(ids[:-1])
            ours = every_logits(kernel, [ids[-1], *chosen(steps)[:-1]])
            result = compare(steps, ours)
            assert result["rms"] < usual
            overturned += len(result["overturned"])
    assert overturned <= 0.1 * STEPS * len(PROMPTS)
