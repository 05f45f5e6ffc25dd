"""The steps of sampling on logits small enough to follow by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from mlr.engines.base import Sampling
from mlr.engines.reference.sampling import Sampler, candidates, log_probabilities
from mlr.errors import GenerationError

# Probabilities 0.1, 0.4, 0.2, 0.25, 0.05.
LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.25, 0.05]))


def chosen(
    logits: np.ndarray = LOGITS, tokens: tuple[int, ...] = (), **settings: Any
) -> dict[int, float]:
    """Token ids that may be chosen, with their probabilities."""
    ids, probabilities = candidates(logits, tokens, Sampling(**settings))
    return dict(zip(ids.tolist(), probabilities.round(6).tolist(), strict=True))


def test_temperature_alone_keeps_every_token() -> None:
    assert chosen(temperature=1.0) == {0: 0.1, 1: 0.4, 2: 0.2, 3: 0.25, 4: 0.05}
    squares = np.array([0.01, 0.16, 0.04, 0.0625, 0.0025])
    expected = dict(enumerate((squares / squares.sum()).round(6).tolist()))
    assert chosen(temperature=0.5) == expected


def test_greedy_takes_the_lowest_id_of_equals() -> None:
    assert chosen(np.array([1.0, 3.0, 3.0, 2.0])) == {1: 1.0}


def test_top_k() -> None:
    assert chosen(temperature=1.0, top_k=2) == pytest.approx({1: 0.4 / 0.65, 3: 0.25 / 0.65}, 1e-5)
    assert list(chosen(temperature=1.0, top_k=1)) == [1]
    assert list(chosen(np.zeros(4), temperature=1.0, top_k=2)) == [0, 1]


def test_top_p_takes_the_fewest_that_reach_it() -> None:
    assert list(chosen(temperature=1.0, top_p=0.6)) == [1, 3]
    assert list(chosen(temperature=1.0, top_p=0.66)) == [1, 3, 2]
    assert list(chosen(temperature=1.0, top_p=0.0)) == [1]
    # Of what top-k leaves: 0.4 of 0.65 is enough.
    assert list(chosen(temperature=1.0, top_k=2, top_p=0.61)) == [1]


def test_min_p_is_relative_to_the_best() -> None:
    assert list(chosen(temperature=1.0, min_p=0.45)) == [1, 2, 3]
    assert list(chosen(temperature=1.0, min_p=1.0)) == [1]


def test_temperature_comes_last() -> None:
    """A high temperature does not bring back what top-p and min-p have cut."""
    assert list(chosen(temperature=50.0, top_p=0.6)) == [1, 3]
    assert list(chosen(temperature=50.0, min_p=0.45)) == [1, 2, 3]


def test_the_penalty_divides_positive_logits_and_multiplies_negative_ones() -> None:
    logits = np.array([2.0, -1.0, 1.5, 1.0])
    assert chosen(logits, (0, 0, 1), repeat_penalty=2.0) == {2: 1.0}
    shifted = np.exp(np.array([1.0, -2.0, 1.5, 1.0]))
    expected = dict(enumerate((shifted / shifted.sum()).round(6).tolist()))
    assert chosen(logits, (0, 0, 1), temperature=1.0, repeat_penalty=2.0) == expected
    assert chosen(logits, (0, 3, 3), repeat_penalty=2.0, repeat_last_n=2) == {0: 1.0}
    assert chosen(logits, (0,), repeat_penalty=2.0, repeat_last_n=0) == {0: 1.0}


def test_frequency_and_presence_are_subtracted() -> None:
    logits = np.array([2.0, -1.0, 1.5, 1.0])
    shifted = np.exp(np.array([2.0 - 2 * 0.5 - 0.25, -1.0 - 0.5 - 0.25, 1.5, 1.0]))
    expected = dict(enumerate((shifted / shifted.sum()).round(6).tolist()))
    penalties = {"frequency_penalty": 0.5, "presence_penalty": 0.25}
    assert chosen(logits, (0, 0, 1), temperature=1.0, **penalties) == expected
    assert chosen(logits, (0, 0, 0), frequency_penalty=2.0, repeat_last_n=0) == {0: 1.0}


def test_a_mask_comes_first() -> None:
    """What is masked counts for no share of a probability."""

    def masked(*allowed: int, **settings: Any) -> list[int]:
        mask = np.isin(np.arange(5), allowed)
        return candidates(LOGITS, (), Sampling(**settings), mask)[0].tolist()  # type: ignore[no-any-return]

    assert masked(0, 2, 4) == [2]
    assert masked(0, 2, 4, temperature=1.0) == [0, 2, 4]
    assert masked(0, 2, 4, temperature=1.0, top_p=0.8) == [2, 0]
    assert masked(0, 2, 4, temperature=1.0, min_p=0.5) == [0, 2]
    with pytest.raises(GenerationError, match="mask"):
        masked()


def test_log_probabilities_are_the_log_softmax() -> None:
    logits = LOGITS + 700.0
    np.testing.assert_allclose(log_probabilities(logits), LOGITS, atol=1e-12)


def test_draws_follow_the_probabilities_and_the_seed() -> None:
    sampler = Sampler(Sampling(temperature=1.0, seed=7))
    draws = [sampler.choose(LOGITS, ()) for _ in range(20_000)]
    counts = Counter(draws)
    for token, logit in enumerate(LOGITS):
        # Five standard deviations of a binomial count.
        expected, p = 20_000 * np.exp(logit), np.exp(logit)
        assert abs(counts[token] - expected) < 5 * np.sqrt(expected * (1 - p))
    again = Sampler(Sampling(temperature=1.0, seed=7))
    assert [again.choose(LOGITS, ()) for _ in range(50)] == draws[:50]
    other = Sampler(Sampling(temperature=1.0, seed=8))
    assert [other.choose(LOGITS, ()) for _ in range(50)] != draws[:50]


def test_the_random_numbers_are_splitmix64() -> None:
    """The first outputs for seed 1234567 that the algorithm's published test vectors give."""
    sampler = Sampler(Sampling(temperature=1.0, seed=1234567))
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    ours = [sampler._random() for _ in expected]
    assert ours == [(number >> 11) / 2**53 for number in expected]
