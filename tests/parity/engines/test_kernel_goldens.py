"""The kernel on the demo model against what llama.cpp decoded, kept in golden/demo.json.

llama.cpp rounds activations to 8 bits, so where it sums in another order it differs from itself:
the golden file holds that too, measured with settings that are not meant to change the result
(prompt token by token, cache in float32, flash attention). It picks another token than before
in 58 of 2,496 steps, in one of them a token that was 2.2 behind. That is the rounding of which
the tolerances here are made:

- along llama.cpp's own tokens, the kernel's logits differ from llama.cpp's no more than 1.25
  times as much, in the mean, as llama.cpp's variations do;
- where its choice differs, llama.cpp put that token at most as far behind its own choice as its
  variations have overturned anywhere;
- where none of llama.cpp's variations leaves the path, the kernel decodes the same 64 tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlr.engines.base import Sampling
from mlr.engines.kernel.engine import KernelEngine
from tests.parity.engines.make_goldens import chosen, compare
from tests.support.kernels import every_logits, open_kernel

GOLDEN = json.loads((Path(__file__).parent / "golden" / "demo.json").read_text(encoding="utf-8"))
PROMPTS = GOLDEN["prompts"]
STEADY = [
    prompt
    for prompt in PROMPTS
    if not any(variation["overturned"] for variation in prompt["variations"].values())
]


@pytest.fixture(scope="module")
def kernel(demo_gguf: Path) -> Iterator[KernelEngine]:
    with open_kernel(demo_gguf, context_length=512, threads=2) as engine:
        yield engine


@pytest.fixture(scope="module")
def along(kernel: KernelEngine) -> dict[str, dict[str, Any]]:
    """By prompt: how the kernel's logits compare, evaluated along llama.cpp's own tokens."""
    results = {}
    for prompt in PROMPTS:
        kernel.truncate(0)
        ids = prompt["prompt_ids"]
        kernel.evaluate(ids[:-1])
        logits = every_logits(kernel, [ids[-1], *chosen(prompt["steps"])[:-1]])
        results[prompt["name"]] = compare(prompt["steps"], logits)
    return results


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt["name"])
def test_logits_are_as_near_as_llama_cpp_is_to_itself(
    along: dict[str, dict[str, Any]], prompt: dict[str, Any]
) -> None:
    own = max(variation["rms"] for variation in prompt["variations"].values())
    assert along[prompt["name"]]["rms"] < 1.25 * own


def test_other_choices_are_as_few_and_as_close_as_llama_cpps_own(
    along: dict[str, dict[str, Any]],
) -> None:
    ours = [choice for result in along.values() for choice in result["overturned"]]
    theirs: dict[str, list[Any]] = {}
    for prompt in PROMPTS:
        for name, variation in prompt["variations"].items():
            theirs.setdefault(name, []).extend(variation["overturned"])
    assert len(ours) <= 1.25 * max(map(len, theirs.values()))
    farthest = max(behind or 0 for choices in theirs.values() for _, _, behind in choices)
    for step, token, behind in ours:
        assert behind is not None, f"step {step}: {token} is not among llama.cpp's best 20"
        assert behind <= farthest


@pytest.mark.parametrize("prompt", STEADY, ids=lambda prompt: prompt["name"])
def test_decodes_the_same_tokens(kernel: KernelEngine, prompt: dict[str, Any]) -> None:
    kernel.truncate(0)
    kernel.configure(Sampling())
    kernel.evaluate(prompt["prompt_ids"])
    tokens: list[int] = []
    while len(tokens) < len(prompt["steps"]):
        tokens.append(kernel.sample())
        kernel.evaluate(tokens[-1:])
    assert tokens == chosen(prompt["steps"])


def test_several_prompts_are_decoded_exactly() -> None:
    assert len(STEADY) >= 3
    assert len(PROMPTS) >= 12
