"""Whether guessing is worth it: what passes cost, how often guesses are right, and when to rest.

A guess gains a token if it is right, and costs time in any case: to make it, and to confirm it in
the engine's next pass. One rule decides everything: what is expected to bring the most tokens by
the time it takes. So guesses are many where they are right, few where they are doubtful, and none
where passes are dear or guesses are bad.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Pace", "PassCosts", "Price", "Round"]

FASTER, SLOWER = 0.3, 0.1  # weights of a newer time: interference only ever makes it longer
SAMPLES = 3  # of making a guess, before it is taken for known how long that takes
ASSUMED = 0.3  # of a plain token: what a guess costs, until that is measured
DISCOUNT = 0.999  # on what a pass costs, for every other pass since then: it may have changed

LEVELS = 4  # of confidence, each with a record of its own
MEMORY = 20.0  # guesses: how far back a record reaches
DOUBT = 1.0  # guesses that an assumption counts for
EXPECTED = 0.9  # assumed chance of guesses yet to be made
LEAST = 0.3  # assumed chance of one made with no confidence; with full confidence it is 1
RESTED = 0.7  # what a record still counts for after a rest
TRIAL = 50  # guesses of a level not worth confirming, of which one is confirmed all the same
SHORTEST, LONGEST = 16, 512  # passes to rest when guessing does not gain


@dataclass(frozen=True, slots=True)
class Price:
    """What passes take: `seconds` by the guesses in them, those without any among them, where each
    of so many generations gets a token."""

    generations: int
    seconds: Mapping[int, float]

    def of(self, guesses: int) -> float:
        """Seconds of a generation's share of a pass with so many guesses for each."""
        wanted = guesses * self.generations
        below = max(known for known in self.seconds if known <= wanted)
        above = min((known for known in self.seconds if known > wanted), default=None)
        start = self.seconds[below]
        if above is None:
            each = ASSUMED * self.seconds[0] / self.generations
        else:
            each = (self.seconds[above] - start) / (above - below)
        return (start + (wanted - below) * each) / self.generations


class PassCosts:
    """What the passes of an engine cost, as measured: a few tokens more may take the same time, or
    twice as long, so every number of them counts for itself."""

    def __init__(self) -> None:
        # by generations and by guesses: seconds, and in which pass that was seen
        self._known: dict[int, dict[int, tuple[float, int]]] = {}
        self._passes = 0

    def learn(self, generations: int, guesses: int, seconds: float) -> None:
        """Note how long a pass took that brought each generation a token."""
        self._passes += 1
        known = self._known.setdefault(generations, {})
        old = known[guesses][0] if guesses in known else None
        known[guesses] = _smoothed(old, seconds), self._passes

    def price(self, generations: int) -> Price | None:
        """What tokens cost so many generations; None where no pass has shown it."""
        known = self._known.get(generations, {})
        if 0 not in known:
            return None
        return Price(
            generations,
            {
                guesses: seconds * DISCOUNT ** (self._passes - seen)
                for guesses, (seconds, seen) in known.items()
            },
        )


class Record:
    """How good guesses have been of late; it begins with an assumption."""

    def __init__(self, assumed: float) -> None:
        self._assumed = assumed
        self.chance = assumed  # of a guess to be right
        self._count = DOUBT
        self._refused = 0

    def add(self, value: float) -> None:
        """Note a guess: 1 for a right one, 0 for a wrong one."""
        self._count = min(self._count + 1.0, MEMORY)
        self.chance += (value - self.chance) / self._count

    def due(self) -> bool:
        """Whether it is time to see if a guess that is not worth confirming is right after all."""
        self._refused += 1
        return self._refused % TRIAL == 0

    def fade(self, factor: float) -> None:
        """Go back towards what was assumed."""
        self._count = max(DOUBT, factor * self._count)
        self.chance = self._assumed + factor * (self.chance - self._assumed)


class Pace:
    """How often guesses have been right, and whether it is time to make any.

    Confidences, from 0 to 1, are what a guesser says of its guesses. How much they are worth is
    learnt, for four levels of them.
    """

    def __init__(self) -> None:
        self._step: float | None = None  # seconds, as measured
        self._samples = 0
        self._credit = 1.0  # what is taken for true of that: it may have become quicker
        self._levels = [Record(LEAST + (1 - LEAST) * (n + 0.5) / LEVELS) for n in range(LEVELS)]
        self.expected = Record(EXPECTED)  # of guesses yet to be made
        self._rest = 0  # passes to come without guesses
        self._next_rest = SHORTEST
        self._right = 0  # guesses since the last rest

    def begin(self, price: Price, most: int) -> Round | None:
        """At most so many guesses for one pass; None while they would not gain.

        After a rest, which is the longer the more of them were in vain, much of what was learnt is
        forgotten and guesses get another chance: the text may have become easier.
        """
        if self._rest:
            self._rest -= 1
            return None
        current = Round(self, price, most)
        if current.another():
            return current
        self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, LONGEST)
        self._right = 0
        self._credit /= 2
        self.expected.fade(0.0)
        for level in self._levels:
            level.fade(RESTED)
        return None

    def took(self, seconds: float) -> None:
        """Note how long it took to make a guess."""
        self._samples += 1
        if self._step is not None and self._samples <= SAMPLES:
            self._step = min(self._step, seconds)
        else:
            self._step = _smoothed(self._step, seconds)
        self._credit = 1.0

    def confirmed(self, right: int) -> None:
        """Note how many guesses were right: the more, the shorter is the next rest."""
        self._right += right
        if self._right >= self._next_rest:
            self._next_rest = SHORTEST

    @property
    def step(self) -> float:
        """Seconds that it takes to make a guess; 0 until that is known."""
        if self._step is None or self._samples < SAMPLES:
            return 0.0
        return self._step * self._credit

    def level(self, confidence: float) -> Record:
        """The record of guesses that were made with about this confidence."""
        return self._levels[max(0, min(int(confidence * LEVELS), LEVELS - 1))]


class Round:
    """The guesses of one generation for one pass."""

    def __init__(self, pace: Pace, price: Price, most: int) -> None:
        self._pace, self._price, self._most = pace, price, most
        self._levels: list[Record] = []  # of the guesses that were made

    def another(self) -> bool:
        """Whether to make another guess, or more."""
        made = len(self._levels)
        further = (self._rate(count) for count in range(made + 1, self._most + 1))
        return max(further, default=0.0) > max(self._rate(count) for count in range(made + 1))

    def made(self, confidence: float) -> None:
        """Note a guess."""
        level = self._pace.level(confidence)
        self._pace.expected.add(level.chance)
        self._levels.append(level)

    def keep(self) -> int:
        """How many of the guesses made are worth a place in the pass: the first ones."""
        count = max(range(len(self._levels) + 1), key=self._rate)
        if count == 0 and self._levels and self._levels[0].due():
            return 1
        return count

    def _rate(self, count: int) -> float:
        """Tokens a second to be expected of a pass with so many guesses."""
        tokens = chance = 1.0
        for index in range(count):
            made = index < len(self._levels)
            chance *= (self._levels[index] if made else self._pace.expected).chance
            tokens += chance
        seconds = self._price.of(count) + max(count, len(self._levels)) * self._pace.step
        return tokens / seconds if seconds > 0 else tokens

    def learn(self, right: int, *, wrong: bool) -> None:
        """The first so many guesses were right, and the next one, maybe, wrong."""
        self._pace.confirmed(right)
        for level in self._levels[:right]:
            level.add(1.0)
        if wrong:
            self._levels[right].add(0.0)


def _smoothed(old: float | None, new: float) -> float:
    """A running time, nearer to the least than to the mean."""
    if old is None:
        return new
    return old + (FASTER if new < old else SLOWER) * (new - old)
