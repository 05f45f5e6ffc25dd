"""Following a text through a grammar, byte by byte.

A `State` is everything that a prefix of the text can still become: a set of positions in the
automaton, each with its stack. States are immutable and interned, so that equal ones are the same
object, and each knows its successors; what has been computed for one is not computed again.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from mlr.errors import GrammarError
from mlr.grammar.automaton import (
    ByteNode,
    CallNode,
    CountNode,
    EndNode,
    ForkNode,
    Node,
    compile_grammar,
)
from mlr.grammar.expressions import Grammar

__all__ = ["Matcher", "State"]

MAX_POSITIONS = 4096
"""Positions in one state, those included that only lead to others."""

MAX_DEPTH = 256
"""Frames on a stack. What is nested deeper is not part of any grammar here: JSON readers give up
not far above."""

MAX_WORK = 2_000_000
"""Positions gone through for one mask (a few seconds); ordinary grammars take thousands."""

MAX_REMEMBERED = 4096
"""States and frames that are remembered (a state takes about 3 kB); beyond it all are forgotten
and found anew."""


class Frame:
    """Where to go on when a rule or a counted body ends."""

    __slots__ = ("count", "depth", "node", "parent")

    def __init__(self, node: CallNode | CountNode, count: int, parent: Frame | None) -> None:
        self.node, self.count, self.parent = node, count, parent
        self.depth: int = 1 if parent is None else parent.depth + 1


Position = tuple[ByteNode, Frame | None]


class State:
    """What may follow a prefix. `accepting`: the text may end here."""

    def __init__(self, matcher: Matcher, positions: frozenset[Position], accepting: bool) -> None:
        self.matcher = matcher
        self._positions = positions
        self.accepting = accepting

    @cached_property
    def table(self) -> list[State | None]:
        """The state after each byte value; None where the grammar does not allow it."""
        return self.matcher.successors(self._positions)

    @cached_property
    def allowed(self) -> bytes:
        """The byte values that may follow, in order."""
        return bytes(byte for byte, state in enumerate(self.table) if state is not None)

    @property
    def finished(self) -> bool:
        """Whether the text is complete and nothing can follow."""
        return not self._positions

    def advance(self, data: bytes) -> State | None:
        """The state after more bytes; None when the grammar does not allow them."""
        state = self
        for byte in data:
            after = state.table[byte]
            if after is None:
                return None
            state = after
        return state


class Matcher:
    """A grammar, ready to follow texts."""

    def __init__(self, grammar: Grammar) -> None:
        """Compile; raises `GrammarError` for what `compile_grammar` refuses."""
        self._frames: dict[tuple[Node, int, Frame | None], Frame] = {}
        self._states: dict[tuple[frozenset[Position], bool], State] = {}
        self._work = 0
        start = self._close([(compile_grammar(grammar), None)])
        assert start is not None  # every rule ends, so something can follow
        self.start = start

    def accepts(self, data: bytes) -> bool:
        """Whether a whole text follows the grammar."""
        state = self.start.advance(data)
        return state is not None and state.accepting

    def begin_step(self) -> None:
        """Allow the full amount of work again; `MAX_WORK` holds from one call to the next."""
        self._work = 0

    def successors(self, positions: Iterable[Position]) -> list[State | None]:
        """What `State.table` holds. Raises `GrammarError` for a state with too many positions."""
        edges = [(edge, frame) for node, frame in positions for edge in node.edges]
        bounds = sorted({at for (low, high, _), _ in edges for at in (low, high + 1)})
        place = {at: index for index, at in enumerate(bounds)}
        seeds: list[list[tuple[Node, Frame | None]]] = [[] for _ in bounds]
        for (low, high, target), frame in edges:
            for index in range(place[low], place[high + 1]):
                seeds[index].append((target, frame))
        table: list[State | None] = [None] * 256
        known: dict[tuple[tuple[Node, Frame | None], ...], State | None] = {}
        for index, seed in enumerate(seeds):
            if not seed:
                continue
            key = tuple(seed)
            if key not in known:
                known[key] = self._close(seed)
            low, high = bounds[index], bounds[index + 1]
            table[low:high] = [known[key]] * (high - low)
        return table

    def _close(self, seeds: list[tuple[Node, Frame | None]]) -> State | None:
        """The state of all positions that `seeds` lead to without taking a byte."""
        pending = list(seeds)
        seen = set(pending)
        positions: list[Position] = []
        accepting = False
        while pending:
            node, frame = pending.pop()
            onward: list[tuple[Node, Frame | None]] = []
            if isinstance(node, ByteNode):
                positions.append((node, frame))
            elif isinstance(node, ForkNode):
                onward = [(target, frame) for target in node.targets]
            elif isinstance(node, CallNode):
                # A call at the end of a rule needs no frame of its own, so that rules that
                # repeat themselves at their end do not pile up.
                last = isinstance(node.then, EndNode)
                onward = [(node.start, frame)] if last else self._push(node.start, node, 0, frame)
            elif isinstance(node, CountNode):
                onward = self._push(node.body, node, 0, frame)
                if node.least == 0:
                    onward.append((node.then, frame))
            elif frame is None:
                accepting = True
            elif isinstance(frame.node, CallNode):
                onward = [(frame.node.then, frame.parent)]
            else:
                onward = self._again(frame.node, frame.count + 1, frame.parent)
            for item in onward:
                if item not in seen:
                    seen.add(item)
                    pending.append(item)
            if len(seen) > MAX_POSITIONS:
                raise GrammarError(
                    f"the grammar is too ambiguous: one text can be read in over {MAX_POSITIONS} "
                    "ways at once; simplify its alternatives"
                )
        self._work += len(seen)
        if self._work > MAX_WORK:
            raise GrammarError(
                f"the grammar takes too long to follow: over {MAX_WORK} positions for one token; "
                "simplify nested repetitions and alternatives"
            )
        if not positions and not accepting:
            return None
        return self._state(frozenset(positions), accepting)

    def _again(
        self, node: CountNode, count: int, parent: Frame | None
    ) -> list[tuple[Node, Frame | None]]:
        """What follows when a counted body has been gone through `count` times."""
        if node.most is None:
            count = min(count, node.least)  # the same state for all that are enough
        more = node.most is None or count < node.most
        onward = self._push(node.body, node, count, parent) if more else []
        if count >= node.least:
            onward.append((node.then, parent))
        return onward

    def _push(
        self, target: Node, node: CallNode | CountNode, count: int, parent: Frame | None
    ) -> list[tuple[Node, Frame | None]]:
        key = (node, count, parent)
        frame = self._frames.get(key)
        if frame is None:
            frame = Frame(node, count, parent)
            if frame.depth > MAX_DEPTH:
                return []
            if len(self._frames) >= MAX_REMEMBERED:
                self._forget()
            self._frames[key] = frame
        return [(target, frame)]

    def _state(self, positions: frozenset[Position], accepting: bool) -> State:
        key = (positions, accepting)
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= MAX_REMEMBERED:
                self._forget()
            state = self._states[key] = State(self, positions, accepting)
        return state

    def _forget(self) -> None:
        for state in self._states.values():
            state.__dict__.pop("table", None)  # a table keeps its successors alive
        self._states.clear()
        self._frames.clear()
