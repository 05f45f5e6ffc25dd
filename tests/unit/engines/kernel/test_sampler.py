"""The kernel's sampler against a plain one in NumPy, on logits written into its memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlr.engines.base import Sampling
from mlr.engines.kernel.engine import KernelEngine
from tests.support.kernels import open_kernel
from tests.support.tiny_models import tiny_gguf

HISTORY = [5, 9, 5, 17]
DRAWS = 4000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelEngine]:
    path = tiny_gguf(tmp_path_factory.mktemp("model") / "llama.gguf", quantization="Q4_0")
    with open_kernel(path) as engine:
        engine.evaluate(HISTORY)
        yield engine


def put_logits(engine: KernelEngine, logits: NDArray[np.float32]) -> None:
    instance = engine._instance
    assert instance is not None
    instance.write(int(instance.call("mlr_logits", 0)), logits.astype("<f4").tobytes())


def distribution(logits: NDArray[np.float32], s: Sampling) -> dict[int, float]:
    """What `Sampling` describes, in double precision: id to probability."""
    scores = logits.astype(np.float64)
    if s.repeat_penalty != 1.0:
        for token in set(HISTORY[len(HISTORY) - min(s.repeat_last_n, len(HISTORY)) :]):
            penalty = s.repeat_penalty
            scores[token] = (
                scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
            )
    order = np.lexsort((np.arange(scores.size), -scores))
    if s.temperature == 0:
        return {int(order[0]): 1.0}
    if s.top_k:
        order = order[: s.top_k]
    shares = np.exp(scores[order] - scores[order[0]])
    if s.top_p < 1.0:
        reached = np.cumsum(shares) >= s.top_p * shares.sum()
        order = order[: int(np.argmax(reached)) + 1]
        shares = shares[: order.size]
    keep = shares >= s.min_p
    order = order[keep]
    heated = np.exp((scores[order] - scores[order[0]]) / s.temperature)
    return dict(zip(order.tolist(), (heated / heated.sum()).tolist(), strict=True))


def random_logits(seed: int, size: int, spread: float = 3.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 1.0},
        {"temperature": 0.5},
        {"temperature": 2.0, "top_k": 5},
        {"temperature": 1.0, "top_p": 0.8},
        {"temperature": 1.3, "min_p": 0.1},
        {"temperature": 1.0, "top_k": 40, "top_p": 0.9, "min_p": 0.05},
        {"temperature": 1.0, "top_k": 8, "repeat_penalty": 3.0},
        {"temperature": 1.0, "top_k": 100000},
    ],
)
def test_draws_follow_the_distribution(engine: KernelEngine, options: dict[str, float]) -> None:
    logits = random_logits(3, engine.vocabulary_size)
    logits[[5, 9, 17]] = [6.0, 5.5, -0.5]
    put_logits(engine, logits)
    sampling = Sampling(**options, seed=11)  # type: ignore[arg-type]
    expected = distribution(logits, sampling)
    engine.configure(sampling)
    drawn = Counter(engine.sample() for _ in range(DRAWS))
    assert set(drawn) <= set(expected)
    # Pearson's statistic over the cells that expect 5 draws or more: its mean is the number of
    # cells, its deviation sqrt(2 cells); six deviations leave no room for chance with fixed seeds
    cells = [(drawn[i], DRAWS * p) for i, p in expected.items() if DRAWS * p >= 5]
    statistic = sum((got - want) ** 2 / want for got, want in cells)
    assert statistic < len(cells) + 6 * (2 * len(cells)) ** 0.5 + 6


def test_greedy_takes_the_largest_and_the_lowest_id_of_equals(engine: KernelEngine) -> None:
    engine.configure(Sampling())
    for where in ([0], [300], [17], [13, 200], [15, 16], [255, 256, 300]):
        logits = random_logits(5, engine.vocabulary_size, 0.1)
        logits[where] = 4.0
        put_logits(engine, logits)
        assert engine.sample() == min(where)


def test_the_penalty_changes_a_greedy_choice(engine: KernelEngine) -> None:
    logits = np.full(engine.vocabulary_size, -5.0, dtype=np.float32)
    logits[17], logits[40] = 4.0, 3.0
    put_logits(engine, logits)
    engine.configure(Sampling(repeat_penalty=2.0))
    assert engine.sample() == 40
    engine.configure(Sampling(repeat_penalty=2.0, repeat_last_n=0))
    assert engine.sample() == 17


def test_a_seed_gives_the_same_draws_again(engine: KernelEngine) -> None:
    put_logits(engine, random_logits(6, engine.vocabulary_size))
    runs = []
    for seed in (1, 1, 2, 2**64 - 1):
        engine.configure(Sampling(temperature=1.0, seed=seed))
        runs.append([engine.sample() for _ in range(50)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2] != runs[3]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([0.0, 0.01, 1.0, 30.0, 1e30]),
    temperature=st.sampled_from([0.0, 1e-3, 0.7, 1.0, 100.0]),
    top_k=st.sampled_from([0, 1, 2, 50, 301, 2**31 - 1]),
    top_p=st.sampled_from([0.0, 0.1, 0.95, 0.9999, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 1.0]),
    repeat_penalty=st.sampled_from([0.5, 1.0, 1.1]),
)
def test_only_tokens_of_the_support_are_drawn(
    engine: KernelEngine,
    seed: int,
    spread: float,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    repeat_penalty: float,
) -> None:
    logits = random_logits(seed, engine.vocabulary_size, spread)
    put_logits(engine, logits)
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        seed=seed,
    )
    engine.configure(sampling)
    expected = distribution(logits, sampling)
    for _ in range(5):
        # a neighbour of the last token kept is allowed: the shares are summed in float32 there
        token = engine.sample()
        if token not in expected:
            wider = Sampling(
                temperature=temperature,
                top_k=top_k,
                top_p=min(1.0, top_p + 1e-5),
                min_p=max(0.0, min_p - 1e-6),
                repeat_penalty=repeat_penalty,
            )
            assert token in distribution(logits, wider)
