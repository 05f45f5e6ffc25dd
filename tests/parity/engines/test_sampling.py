"""The kernel's sampler against the reference engine's, seed for seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlr.engines.base import Sampling
from mlr.engines.reference.sampling import Sampler
from tests.support.kernels import last_logits, open_kernel
from tests.support.tiny_cases import TOKENS, TYPE_CASES, TinyCase

SETTINGS = {
    "greedy": {},
    "greedy with a penalty": {"repeat_penalty": 3.0},
    "temperature": {"temperature": 1.0},
    "hot": {"temperature": 5.0},
    "cold": {"temperature": 0.05},
    "top-k": {"temperature": 1.5, "top_k": 7},
    "top-k of one": {"temperature": 1.5, "top_k": 1},
    "top-k beyond the vocabulary": {"temperature": 1.5, "top_k": 100_000},
    "top-p": {"temperature": 1.5, "top_p": 0.8},
    "top-p of nothing": {"temperature": 1.5, "top_p": 0.0},
    "min-p": {"temperature": 3.0, "min_p": 0.2},
    "penalty": {"temperature": 1.0, "repeat_penalty": 1.4, "repeat_last_n": 20},
    "penalty on nothing": {"temperature": 1.0, "repeat_penalty": 1.4, "repeat_last_n": 0},
    "everything": {
        "temperature": 2.0,
        "top_k": 40,
        "top_p": 0.9,
        "min_p": 0.02,
        "repeat_penalty": 1.2,
    },
    "top-p and min-p": {"temperature": 2.0, "top_p": 0.97, "min_p": 0.01},
    "frequency": {"temperature": 1.5, "frequency_penalty": 1.0, "repeat_last_n": 30},
    "presence": {"temperature": 1.5, "presence_penalty": 1.5, "repeat_penalty": 1.1},
    "top-k and min-p": {"temperature": 2.0, "top_k": 50, "min_p": 0.01},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_same_tokens(settings: dict[str, float], tiny: Callable[[TinyCase], Path]) -> None:
    path = tiny(next(case for case in TYPE_CASES if case.name == "qwen3-Q8_0"))
    drawn = set()
    with open_kernel(path) as kernel:
        for length in (3, 40, 60):
            kernel.truncate(0)
            kernel.evaluate(TOKENS[:length])
            logits = last_logits(kernel)
            for seed in (0, 1, 2**32 - 1, 2**32, 2**63 + 5, 2**64 - 1):
                sampling = Sampling(seed=seed, **settings)  # type: ignore[arg-type]
                kernel.configure(sampling)
                reference = Sampler(sampling)
                for _ in range(20):
                    token = kernel.sample()
                    assert token == reference.choose(logits, TOKENS[:length])
                    drawn.add(token)
    one_way = settings.get("temperature", 0) == 0 or settings.get("top_k") == 1
    one_way = one_way or settings.get("top_p") == 0
    assert (len(drawn) <= 3) if one_way else (len(drawn) > 3)
