"""When guessing is worth it, against the formula of what it gains."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlr.speculation.pace import LONGEST, SAMPLES, SHORTEST, Pace, PassCosts, Price

PLAIN = 1.0  # seconds of a pass
CONFIDENCE = 0.9


def accustomed(chance: float, step: float) -> Pace:
    """A pace that has seen guesses of one confidence be right with one probability."""
    pace = Pace()
    for _ in range(SAMPLES):
        pace.took(step)
    draws = random.Random(3)
    for _ in range(400):
        pace.level(CONFIDENCE).add(draws.random() < chance)
    return pace


def made(pace: Pace, price: Price, most: int = 7) -> int:
    """How many guesses of one confidence a round takes."""
    current = pace.begin(price)
    count = 0
    while current is not None and count < most and current.another():
        if not current.confirm(CONFIDENCE):
            break
        count += 1
    return count


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
    count = made(pace, Price(PLAIN, guess))
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
    pace = Pace()
    current = pace.begin(Price(PLAIN, 0.5))
    assert current is not None
    assert current.confirm(0.95)
    assert not current.confirm(0.05)


def rest_of(pace: Pace, *, right: bool, passes: int) -> tuple[list[int], int]:
    """Guess in so many passes, always right or always wrong; how long each rest was, and how many
    guesses were confirmed."""
    rests, resting, guesses = [], 0, 0
    for _ in range(passes):
        current = pace.begin(Price(PLAIN, 0.3))
        if current is None:
            resting += 1
            continue
        if resting:
            rests.append(resting)
            resting = 0
        if current.confirm(CONFIDENCE):
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
    assert pace.begin(Price(PLAIN, 0.1)) is not None
    for _ in range(SAMPLES):
        pace.took(PLAIN)
    assert pace.begin(Price(PLAIN, 0.1)) is None


def test_costs_of_passes() -> None:
    costs = PassCosts()
    assert costs.price(1) is None
    costs.learn(1, 3, 9.0)
    assert costs.price(1) is None, "nothing to compare it with"
    for _ in range(30):
        costs.learn(1, 0, 10.0)
        costs.learn(1, 4, 18.0)
        costs.learn(2, 0, 12.0)
    costs.learn(1, 0, 20.0)  # somebody else was running
    price = costs.price(1)
    assert price is not None
    assert price.plain == pytest.approx(11.0)
    assert price.guess == pytest.approx(2.0)
    assert costs.price(2) == Price(6.0, price.guess)
    assert costs.price(3) is None
