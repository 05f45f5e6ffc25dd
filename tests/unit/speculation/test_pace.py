"""When guessing is worth it, against the formula of what it gains."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlr.speculation.pace import LONGEST, SAMPLES, SHORTEST, Pace, PassCosts, Price

PLAIN = 1.0  # seconds of a pass
CONFIDENCE = 0.9
MOST = 7


def accustomed(chance: float, step: float) -> Pace:
    """A pace that has seen guesses of one confidence be right with one probability."""
    pace = Pace()
    for _ in range(SAMPLES):
        pace.took(step)
    draws = random.Random(3)
    for _ in range(400):
        pace.level(CONFIDENCE).add(draws.random() < chance)
    return pace


def price(guess: float) -> Price:
    """What a pass costs where every guess in it costs the same."""
    return Price(1, {0: PLAIN, MOST: PLAIN + MOST * guess})


def made(pace: Pace, cost: Price) -> int:
    """How many guesses of one confidence a round takes."""
    current = pace.begin(cost, MOST)
    if current is None:
        return 0
    while current.another():
        current.made(CONFIDENCE)
    return current.keep()


def rate(count: int, chance: float, step: float, guess: float) -> float:
    """Tokens a second with so many guesses a pass (Leviathan et al., 2023, theorem 3.8)."""
    tokens = sum(chance**n for n in range(count + 1))
    return tokens / (PLAIN + count * (step + guess))


@given(st.floats(0.3, 0.97), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_as_many_guesses_as_are_best(chance: float, step: float, guess: float) -> None:
    pace = accustomed(chance, step)
    learnt = pace.level(CONFIDENCE).chance
    for _ in range(400):  # all guesses are of this one confidence
        pace.expected.add(learnt)
    count = made(pace, price(guess))
    best = max(rate(n, learnt, step, guess) for n in range(8))
    assert rate(count, learnt, step, guess) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("chance", [0.2, 0.6, 0.95])
def test_what_is_learnt_is_how_often_guesses_are_right(chance: float) -> None:
    pace = accustomed(chance, 0.1)
    # of a memory of 20 guesses: a standard deviation of up to 0.08
    assert pace.level(CONFIDENCE).chance == pytest.approx(chance, abs=0.25)
    other = pace.level(0.1).chance
    assert other == Pace().level(0.1).chance, "another level of confidence has its own record"
    pace.level(CONFIDENCE).fade(0.0)
    assert pace.level(CONFIDENCE).chance == Pace().level(CONFIDENCE).chance


def test_doubtful_guesses_are_not_confirmed() -> None:
    current = Pace().begin(price(0.5), MOST)
    assert current is not None
    current.made(0.95)
    assert current.keep() == 1
    current.made(0.05)
    assert current.keep() == 1
    current.made(0.95)
    assert current.keep() == 1, "the one before is too doubtful"


def test_a_number_of_tokens_that_is_dear_is_avoided() -> None:
    """Two tokens in a pass, or four, but not three."""
    cost = Price(1, {0: 1.0, 1: 1.4, 2: 2.8, 3: 2.2})
    pace = accustomed(0.95, 0.1)
    for _ in range(400):
        pace.expected.add(0.95)
    current = pace.begin(cost, 3)
    assert current is not None
    while current.another():
        current.made(CONFIDENCE)
    assert current.keep() == 3
    current = pace.begin(cost, 2)
    assert current is not None
    while current.another():
        current.made(CONFIDENCE)
    assert current.keep() == 1


def rest_of(pace: Pace, *, right: bool, passes: int) -> tuple[list[int], int]:
    """Guess in so many passes, always right or always wrong; how long each rest was, and how many
    guesses were confirmed."""
    rests, resting, guesses = [], 0, 0
    for _ in range(passes):
        current = pace.begin(price(0.3), MOST)
        if current is None:
            resting += 1
            continue
        if resting:
            rests.append(resting)
            resting = 0
        current.made(CONFIDENCE)
        if current.keep():
            current.learn(int(right), wrong=not right)
            guesses += 1
    return rests, guesses


def test_rests_grow_while_guesses_are_wrong_and_shrink_when_they_are_right() -> None:
    pace = Pace()
    rests, guesses = rest_of(pace, right=False, passes=5000)
    assert rests[0] == SHORTEST + 1
    assert rests[-1] == LONGEST + 1
    assert guesses < 100
    rest_of(pace, right=True, passes=3 * LONGEST)
    assert rest_of(pace, right=False, passes=300)[0][0] == SHORTEST + 1


def test_where_a_guess_costs_as_much_as_a_pass_none_is_made() -> None:
    pace = Pace()
    pace.took(100 * PLAIN)  # a stall, of which there may be one
    assert pace.begin(price(0.1), MOST) is not None
    for _ in range(SAMPLES):
        pace.took(PLAIN)
    assert pace.begin(price(0.1), MOST) is None


def test_costs_of_passes() -> None:
    costs = PassCosts()
    assert costs.price(1) is None
    costs.learn(1, 3, 9.0)
    assert costs.price(1) is None, "nothing to compare it with"
    for _ in range(30):
        costs.learn(1, 4, 18.0)
        costs.learn(1, 0, 10.0)
        costs.learn(2, 0, 12.0)
        costs.learn(2, 2, 16.0)
    costs.learn(1, 0, 20.0)  # somebody else was running
    costs.learn(1, 4, 18.0)
    costs.learn(1, 3, 9.0)
    one, two = costs.price(1), costs.price(2)
    assert one is not None
    assert two is not None
    # what was measured some passes ago counts for a little less
    assert one.of(0) == pytest.approx(11.0, rel=0.01)
    assert one.of(3) == pytest.approx(9.0)
    assert one.of(4) == pytest.approx(18.0, rel=0.01)
    assert one.of(1) == pytest.approx((2 * one.of(0) + one.of(3)) / 3), "between the neighbours"
    assert one.of(5) > one.of(4)
    assert two.of(0) == pytest.approx(6.0, rel=0.01)
    assert two.of(1) == pytest.approx(8.0, rel=0.01)
    assert costs.price(3) is None
