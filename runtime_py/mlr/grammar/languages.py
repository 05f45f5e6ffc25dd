"""Sets of strings that finite automata decide: what several of them share, or one has not.

A grammar cannot say that a text is of two kinds at once. Automata can: they are made of
expressions, combined, and written as rules of a grammar again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from collections.abc import Sequence as Sequenced
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from mlr.errors import GrammarError
from mlr.grammar.expressions import (
    EMPTY,
    LAST_CODE_POINT,
    Characters,
    Choice,
    Expression,
    Reference,
    Repeat,
    Sequence,
    Text,
    choice,
    normal_ranges,
    sequence,
)
from mlr.grammar.json_text import encoded_characters

__all__ = ["Language", "Naming", "Rules", "language", "lengths", "multiples"]

MAX_STATES = 4000

Rules = dict[str, Expression]
Naming = Callable[[str], str]
"""A new rule's name, given what kind of rule it is."""

State = TypeVar("State", bound=Hashable)

Move = tuple[int, int, int]
"""First and last code point, and the state that they lead to."""


@dataclass(frozen=True, slots=True)
class Language:
    """A deterministic automaton over characters, which begins in state 0.

    A state's moves are in the order of their code points, which do not overlap. From every state
    but the first an accepting one can be reached.
    """

    moves: tuple[tuple[Move, ...], ...]
    accepting: frozenset[int]

    @property
    def empty(self) -> bool:
        """Whether it has no string at all."""
        return not self.accepting

    def holds(self, string: str) -> bool:
        """Whether a string is one of it."""
        state = 0
        for character in string:
            point = ord(character)
            after = [to for low, high, to in self.moves[state] if low <= point <= high]
            if not after:
                return False
            state = after[0]
        return state in self.accepting

    def both(self, other: Language) -> Language:
        """The strings of this one that the other one has, too."""
        sides = (self, other)

        def moves(pair: tuple[int, int]) -> list[tuple[int, int, tuple[int, int]]]:
            left, right = (side.moves[state] for side, state in zip(sides, pair, strict=True))
            found, at = [], 0
            for low, high, to in left:
                while at < len(right) and right[at][1] < low:
                    at += 1
                for first, last, other_to in right[at:]:
                    if first > high:
                        break
                    found.append((max(low, first), min(high, last), (to, other_to)))
            return found

        def accepts(pair: tuple[int, int]) -> bool:
            return all(state in side.accepting for side, state in zip(sides, pair, strict=True))

        return _explored((0, 0), moves, accepts)

    def others(self) -> Language:
        """Every other string."""
        nowhere = len(self.moves)

        def moves(state: int) -> list[Move]:
            if state == nowhere:
                return [(0, LAST_CODE_POINT, nowhere)]
            found, start = [], 0
            for low, high, to in self.moves[state]:
                if low > start:
                    found.append((start, low - 1, nowhere))
                found.append((low, high, to))
                start = high + 1
            if start <= LAST_CODE_POINT:
                found.append((start, LAST_CODE_POINT, nowhere))
            return found

        return _explored(0, moves, lambda state: state not in self.accepting)

    def of_length(self, least: int, most: int | None) -> Language:
        """The strings of at least `least` and at most `most` characters."""
        nearest = _distances(self.moves, self.accepting)

        def moves(place: tuple[int, int]) -> list[tuple[int, int, tuple[int, int]]]:
            state, count = place
            count = count + 1 if most is not None else min(count + 1, least)
            return [
                (low, high, (to, count))
                for low, high, to in self.moves[state]
                if most is None or count + nearest[to] <= most
            ]

        def accepts(place: tuple[int, int]) -> bool:
            return place[0] in self.accepting and place[1] >= least

        return _explored((0, 0), moves, accepts)

    def rules(self, prefix: str) -> tuple[Rules, Expression]:
        """Rules, whose names begin with `prefix`, and the strings as JSON spells them, quotes left
        out. Each character is spelled in one way."""
        rules: Rules = {}
        for state, moves in enumerate(self.moves):
            targets: dict[int, list[tuple[int, int]]] = {}
            for low, high, to in moves:
                targets.setdefault(to, []).append((low, high))
            options: list[Expression] = [EMPTY] if state in self.accepting else []
            for to, ranges in targets.items():
                one = encoded_characters(normal_ranges(ranges))
                options.append(sequence(one, Reference(f"{prefix}-{to}")))
            rules[f"{prefix}-{state}"] = choice(*options)
        return rules, Reference(f"{prefix}-0")


def language(expression: Expression) -> Language:
    """The strings that an expression without references describes, as characters.

    Raises `GrammarError` for one that takes too many states.
    """
    steps = _Steps()
    end = steps.state()
    start = steps.build(expression, end)

    def moves(group: frozenset[int]) -> list[tuple[int, int, frozenset[int]]]:
        edges = [edge for state in group for edge in steps.edges[state]]
        bounds = sorted({at for low, high, _ in edges for at in (low, high + 1)})
        found = []
        for low, after in pairwise(bounds):
            targets = {to for first, last, to in edges if first <= low and after - 1 <= last}
            if targets:
                found.append((low, after - 1, steps.closed(targets)))
        return found

    return _explored(steps.closed({start}), moves, lambda group: end in group)


def multiples(of: int) -> Language:
    """The whole numbers that `of` divides, as JSON writes them: with a minus or without."""
    start, signed = -2, -1  # the others are remainders

    def moves(state: int) -> list[Move]:
        found = [(ord("-"), ord("-"), signed)] if state == start else []
        before = max(state, 0) * 10
        return found + [(ord("0") + d, ord("0") + d, (before + d) % of) for d in range(10)]

    return _explored(start, moves, lambda state: state == 0)


def lengths(expression: Expression) -> tuple[int, int | None]:
    """The fewest and the most characters of an expression without references; None is no limit."""
    match expression:
        case Text(data):
            count = len(data.decode())
            return count, count
        case Characters():
            return 1, 1
        case Sequence(parts):
            all_parts = [lengths(part) for part in parts]
            most = [high for _, high in all_parts]
            whole = None if None in most else sum(high for high in most if high is not None)
            return sum(low for low, _ in all_parts), whole
        case Choice(options):
            all_options = [lengths(option) for option in options]
            highest = [high for _, high in all_options]
            top = None if None in highest else max(high for high in highest if high is not None)
            return min(low for low, _ in all_options), top
        case Repeat(body, least, most_times):
            low, high = lengths(body)
            if high == 0 or most_times == 0:
                return 0, 0
            return low * least, None if high is None or most_times is None else high * most_times
        case Reference(rule):
            raise AssertionError(rule)


class _Steps:
    """An automaton that may be in several states at once, as an expression is built of steps."""

    def __init__(self) -> None:
        self.edges: list[list[Move]] = []
        self._onward: list[list[int]] = []  # where a state leads without a character

    def state(self, *onward: int) -> int:
        if len(self.edges) >= 2 * MAX_STATES:
            raise _too_many()
        self.edges.append([])
        self._onward.append(list(onward))
        return len(self.edges) - 1

    def build(self, expression: Expression, then: int) -> int:
        """The state from which the expression leads to `then`."""
        match expression:
            case Text(data):
                for character in reversed(data.decode()):
                    then = self._step(((ord(character), ord(character)),), then)
                return then
            case Characters(ranges):
                return self._step(ranges, then)
            case Sequence(parts):
                for part in reversed(parts):
                    then = self.build(part, then)
                return then
            case Choice(options):
                return self.state(*(self.build(option, then) for option in options))
            case Repeat(body, least, most):
                start = then
                if most is None:
                    start = self.state(then)
                    self._onward[start].append(self.build(body, start))
                for _ in range(0 if most is None else most - least):
                    start = self.state(then, self.build(body, start))
                for _ in range(least):
                    start = self.build(body, start)
                return start
            case Reference(rule):
                raise AssertionError(rule)

    def _step(self, ranges: tuple[tuple[int, int], ...], then: int) -> int:
        state = self.state()
        self.edges[state] += [(low, high, then) for low, high in ranges]
        return state

    def closed(self, states: set[int]) -> frozenset[int]:
        """The states, and those that they lead to without a character."""
        seen, pending = set(states), list(states)
        while pending:
            for state in self._onward[pending.pop()]:
                if state not in seen:
                    seen.add(state)
                    pending.append(state)
        return frozenset(seen)


def _explored(
    start: State,
    moves: Callable[[State], list[tuple[int, int, State]]],
    accepts: Callable[[State], bool],
) -> Language:
    """The automaton of everything that can be reached, without what leads nowhere."""
    numbers = {start: 0}
    found: list[list[Move]] = []
    accepting = set()
    pending = deque([start])
    while pending:
        state = pending.popleft()
        if accepts(state):
            accepting.add(len(found))
        own: list[Move] = []
        for low, high, to in moves(state):
            if to not in numbers:
                if len(numbers) >= MAX_STATES:
                    raise _too_many()
                numbers[to] = len(numbers)
                pending.append(to)
            own.append((low, high, numbers[to]))
        found.append(own)
    return _trimmed(found, accepting)


def _trimmed(moves: list[list[Move]], accepting: set[int]) -> Language:
    useful = _distances(moves, accepting)
    kept = [state for state in range(len(moves)) if state == 0 or state in useful]
    renamed = {state: number for number, state in enumerate(kept)}
    return Language(
        tuple(
            tuple(
                (low, high, renamed[to]) for low, high, to in sorted(moves[state]) if to in useful
            )
            for state in kept
        ),
        frozenset(renamed[state] for state in accepting),
    )


def _distances(moves: Sequenced[Sequenced[Move]], accepting: Iterable[int]) -> dict[int, int]:
    """How many characters the states are from an accepting one; those are left out that never
    get there."""
    before: dict[int, set[int]] = {}
    for state, own in enumerate(moves):
        for _, _, to in own:
            before.setdefault(to, set()).add(state)
    found = dict.fromkeys(accepting, 0)
    pending = deque(found)
    while pending:
        state = pending.popleft()
        for earlier in before.get(state, ()):
            if earlier not in found:
                found[earlier] = found[state] + 1
                pending.append(earlier)
    return found


def _too_many() -> GrammarError:
    return GrammarError(
        f"it takes over {MAX_STATES} states to hold a string to all of this; simplify the pattern "
        "or lower the numbers"
    )
