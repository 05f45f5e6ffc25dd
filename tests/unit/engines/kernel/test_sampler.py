"""The kernel's sampler against a plain one in NumPy, on logits written into its memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlr.engines.base import Sampling
from mlr.engines.kernel.engine import KernelEngine
from mlr.engines.reference.sampling import log_probabilities
from mlr.errors import GenerationError, RequestError
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


def distribution(
    logits: NDArray[np.float32], s: Sampling, allowed: NDArray[np.bool_] | None = None
) -> dict[int, float]:
    """What `Sampling` describes, in double precision: id to probability."""
    scores = logits.astype(np.float64)
    last = HISTORY[len(HISTORY) - min(s.repeat_last_n, len(HISTORY)) :]
    for token in set(last):
        penalty = s.repeat_penalty
        scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
        scores[token] -= last.count(token) * s.frequency_penalty + s.presence_penalty
    order = np.lexsort((np.arange(scores.size), -scores))
    if allowed is not None:
        order = order[allowed[order]]
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
        {"temperature": 1.0, "frequency_penalty": 1.5, "presence_penalty": -0.5},
        {"temperature": 1.0, "repeat_penalty": 1.5, "frequency_penalty": 2.0, "repeat_last_n": 2},
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


def test_frequency_counts_and_presence_does_not(engine: KernelEngine) -> None:
    logits = np.full(engine.vocabulary_size, -5.0, dtype=np.float32)
    logits[5], logits[9], logits[40] = 4.0, 3.5, 2.5  # 5 is in the history twice, 9 once
    put_logits(engine, logits)
    for options, best in (
        ({"presence_penalty": 1.0}, 5),
        ({"presence_penalty": 2.0}, 40),
        ({"frequency_penalty": 0.6}, 9),
        ({"frequency_penalty": 1.1}, 40),
        ({"frequency_penalty": 2.0, "presence_penalty": 2.0, "repeat_last_n": 0}, 5),
        ({"frequency_penalty": 2.0, "repeat_last_n": 2}, 9),  # the last two are 5 and 17
    ):
        engine.configure(Sampling(**options))  # type: ignore[arg-type]
        assert engine.sample() == best, options


def packed(allowed: NDArray[np.bool_]) -> bytes:
    bits = np.packbits(allowed, bitorder="little").tobytes()
    return bits.ljust(4 * -(-allowed.size // 32), b"\0")


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    share=st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]),
    temperature=st.sampled_from([0.0, 1.0]),
    top_k=st.sampled_from([0, 1, 20]),
    top_p=st.sampled_from([0.5, 1.0]),
    min_p=st.sampled_from([0.0, 0.05]),
    penalty=st.sampled_from([0.0, 1.5]),
)
def test_only_tokens_of_the_mask_are_drawn(
    engine: KernelEngine,
    seed: int,
    share: float,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    penalty: float,
) -> None:
    logits = random_logits(seed, engine.vocabulary_size)
    allowed = np.random.default_rng(seed).random(engine.vocabulary_size) < share
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        frequency_penalty=penalty,
        seed=seed,
    )
    put_logits(engine, logits)
    engine.configure(sampling)
    engine.set_mask(packed(allowed))
    try:
        if not allowed.any():
            with pytest.raises(GenerationError, match="mask"):
                engine.sample()
            return
        # a neighbour of the last token kept is allowed, as above
        wider = replace(sampling, top_p=min(1.0, top_p + 1e-5), min_p=max(0.0, min_p - 1e-6))
        expected = distribution(logits, wider, allowed)
        for _ in range(5):
            assert engine.sample() in expected
    finally:
        engine.set_mask(None)
    engine.configure(Sampling())
    assert engine.sample() == int(logits.argmax())


@pytest.mark.parametrize("min_p", [1.0, 1.5, 1e30, float("inf"), float("nan"), -1.0])
def test_any_min_p_leaves_the_likeliest(engine: KernelEngine, min_p: float) -> None:
    """`Sampling` refuses what is not between 0 and 1; another host may not."""
    logits = random_logits(9, engine.vocabulary_size)
    put_logits(engine, logits)
    instance = engine._instance
    assert instance is not None
    for top_k in (0, 5):
        answer = instance.call("mlr_sampler", 0, 1.0, top_k, 1.0, min_p, 1.0, 0, 0.0, 0.0, 1, 0)
        assert answer == 0
        drawn = {engine.sample() for _ in range(20)}
        assert drawn <= set(range(engine.vocabulary_size))
        if min_p >= 1.0:
            assert drawn == {int(logits.argmax())}


@pytest.mark.parametrize("where", [[0], [3, 17, 300], [*range(0, 301, 2)]])
def test_what_is_not_a_number_has_no_share(engine: KernelEngine, where: list[int]) -> None:
    """A head in floats may have damaged rows."""
    logits = random_logits(10, engine.vocabulary_size)
    logits[where] = np.nan
    put_logits(engine, logits)
    expected = log_probabilities(np.where(np.isnan(logits), -np.inf, logits))
    order = np.lexsort((np.arange(expected.size), -expected))
    engine.configure(Sampling())
    assert engine.sample() == order[0]
    engine.set_mask(packed(np.arange(expected.size) != order[0]))
    assert engine.sample() == order[1]
    engine.set_mask(None)
    for options in ({}, {"top_k": 200}, {"top_p": 0.99}, {"min_p": 1e-4}, {"repeat_penalty": 1.1}):
        engine.configure(Sampling(temperature=1.5, **options))
        assert {engine.sample() for _ in range(50)}.isdisjoint(where)
    assert [token for token, _ in engine.top(20)] == order[:20].tolist()
    likeliest = int(order[0])
    assert engine.logprob(likeliest) == pytest.approx(expected[likeliest], rel=2e-7, abs=4e-7)


def test_a_mask_of_the_wrong_size_is_refused(engine: KernelEngine) -> None:
    with pytest.raises(RequestError, match="mask"):
        engine.set_mask(b"\0" * 3)
    with pytest.raises(RequestError, match="sequence 1"):
        engine.set_mask(None, 1)


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 300.0])
def test_log_probabilities(engine: KernelEngine, spread: float) -> None:
    """Against NumPy in double precision. The kernel's exp has a relative error of 2e-7, which is
    the absolute error of the sum's logarithm; the result is rounded to float32 (6e-8)."""
    logits = random_logits(8, engine.vocabulary_size, spread)
    logits[[40, 41]] = logits.max()
    put_logits(engine, logits)
    expected = log_probabilities(logits)
    order = np.lexsort((np.arange(expected.size), -expected))
    for k in (1, 2, 20, 256):
        top = engine.top(k)
        assert [token for token, _ in top] == order[:k].tolist()
        np.testing.assert_allclose([v for _, v in top], expected[order[:k]], rtol=2e-7, atol=4e-7)
    for token in (0, 17, engine.vocabulary_size - 1):
        assert engine.logprob(token) == pytest.approx(expected[token], rel=2e-7, abs=4e-7)
    engine.configure(Sampling())
    assert engine.top(1)[0][0] == engine.sample()


def test_log_probabilities_that_do_not_exist(engine: KernelEngine) -> None:
    for k, row in ((0, 0), (257, 0), (1, 1)):
        with pytest.raises(RequestError):
            engine.top(k, row)
    for token, row in ((engine.vocabulary_size, 0), (-1, 0), (0, 1)):
        with pytest.raises(RequestError, match="log probability"):
            engine.logprob(token, row)


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
