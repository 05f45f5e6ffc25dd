"""A grammar as a graph of nodes that a matcher walks byte by byte.

The graph is that of a pushdown automaton: within a rule nodes follow each other, and a node that
calls a rule, or counts how often something is repeated, puts a frame on the matcher's stack. So
repetition counts and nesting take no nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import lru_cache

from mlr.errors import GrammarError
from mlr.grammar.expressions import (
    Characters,
    Choice,
    Expression,
    Grammar,
    Ranges,
    Reference,
    Repeat,
    Sequence,
    Text,
)
from mlr.grammar.utf8 import ByteRange, byte_sequences

__all__ = [
    "END",
    "ByteNode",
    "CallNode",
    "CountNode",
    "EndNode",
    "ForkNode",
    "Node",
    "compile_grammar",
]

MAX_NODES = 200_000
MAX_EMPTY_REPEATS = 64
"""How often something that may be empty can be repeated, where the number is limited at all:
each number of times is a way to read the same text."""


class ByteNode:
    """Takes one byte: of each edge's range, to the edge's node."""

    __slots__ = ("edges",)

    def __init__(self, edges: tuple[tuple[int, int, Node], ...]) -> None:
        self.edges = edges


class ForkNode:
    """Takes nothing and goes on at every one of its nodes."""

    __slots__ = ("targets",)

    def __init__(self, targets: list[Node]) -> None:
        self.targets = targets


class CallNode:
    """Goes through a rule (`start` is set once all rules are there), then on."""

    __slots__ = ("start", "then")

    def __init__(self, then: Node) -> None:
        self.start: Node = END
        self.then = then


class CountNode:
    """Goes through `body`, which ends in END, `least` to `most` times, then on."""

    __slots__ = ("body", "least", "most", "then")

    def __init__(self, body: Node, least: int, most: int | None, then: Node) -> None:
        self.body, self.least, self.most, self.then = body, least, most, then


class EndNode:
    """The end of a rule or of a counted body: goes on where the frame on the stack says."""

    __slots__ = ()


Node = ByteNode | ForkNode | CallNode | CountNode | EndNode

END = EndNode()


def compile_grammar(grammar: Grammar) -> Node:
    """The node at which a text begins.

    Raises `GrammarError` for a rule that is missing, left-recursive or without an end, and for
    a grammar that is too large.
    """
    rules = _reachable(grammar)
    _check_ends(rules)
    empty = _nullable(rules)
    _check_left_recursion(rules, empty)
    builder = _Builder(empty)
    starts = {name: builder.build(rule, END) for name, rule in rules.items()}
    for name, calls in builder.calls.items():
        for call in calls:
            call.start = starts[name]
    return starts[grammar.root]


class _Builder:
    """Builds nodes from the end of a rule to its beginning, each with what follows it."""

    def __init__(self, empty: Set[str]) -> None:
        self.calls: dict[str, list[CallNode]] = {}
        self._empty = empty
        self._count = 0
        self._characters: dict[tuple[tuple[ByteRange, ...], Node], ByteNode] = {}

    def _made(self, count: int = 1) -> None:
        self._count += count
        if self._count > MAX_NODES:
            raise GrammarError(
                f"the grammar is too large: it needs more than {MAX_NODES} nodes; simplify it"
            )

    def build(self, expression: Expression, then: Node) -> Node:
        match expression:
            case Text(data):
                self._made(len(data))
                for byte in reversed(data):
                    then = ByteNode(((byte, byte, then),))
                return then
            case Characters(ranges):
                return self._class(_spellings(ranges), then)
            case Sequence(parts):
                for part in reversed(parts):
                    then = self.build(part, then)
                return then
            case Choice(options):
                self._made()
                return ForkNode([self.build(option, then) for option in options])
            case Repeat(body, least, most):
                return self._repeat(body, least, most, then)
            case Reference(rule):
                self._made()
                call = CallNode(then)
                self.calls.setdefault(rule, []).append(call)
                return call

    def _class(self, sequences: tuple[tuple[ByteRange, ...], ...], then: Node) -> Node:
        self._made()
        return ByteNode(tuple((*head, self._tail(tail, then)) for head, *tail in sequences))

    def _tail(self, ranges: list[ByteRange], then: Node) -> Node:
        """The bytes of a character after its first; equal ones before the same node are one."""
        if not ranges:
            return then
        key = (tuple(ranges), then)
        if key not in self._characters:
            self._made()
            (low, high), *rest = ranges
            self._characters[key] = ByteNode(((low, high, self._tail(rest, then)),))
        return self._characters[key]

    def _repeat(self, body: Expression, least: int, most: int | None, then: Node) -> Node:
        self._made()
        if most == 0:
            return then
        if (least, most) == (1, 1):
            return self.build(body, then)
        if (least, most) == (0, 1):
            return ForkNode([self.build(body, then), then])
        if most is None and least <= 1:
            loop = ForkNode([])
            start = self.build(body, loop)
            loop.targets += [start, then]
            return loop if least == 0 else start
        if _is_nullable(body, self._empty):
            if most is not None and most > MAX_EMPTY_REPEATS:
                raise GrammarError(
                    f"something that may be empty is repeated up to {most} times: "
                    f"at most {MAX_EMPTY_REPEATS} are supported"
                )
            least = 0
        return CountNode(self.build(body, END), least, most, then)


@lru_cache(maxsize=64)  # some grammars have the same set thousands of times
def _spellings(ranges: Ranges) -> tuple[tuple[ByteRange, ...], ...]:
    return tuple(byte_sequences(ranges))


def _references(expression: Expression) -> set[str]:
    found: set[str] = set()
    pending = [expression]
    while pending:
        match pending.pop():
            case Reference(rule):
                found.add(rule)
            case Sequence(parts) | Choice(parts):
                pending += parts
            case Repeat(body, _, most) if most != 0:
                pending.append(body)
    return found


def _reachable(grammar: Grammar) -> dict[str, Expression]:
    rules: dict[str, Expression] = {}
    pending = [grammar.root]
    while pending:
        name = pending.pop()
        if name in rules:
            continue
        if name not in grammar.rules:
            raise GrammarError(f"the grammar has no rule {name!r}")
        rules[name] = grammar.rules[name]
        pending += sorted(_references(rules[name]))
    return rules


def _is_nullable(expression: Expression, empty: Set[str]) -> bool:
    match expression:
        case Text(data):
            return not data
        case Characters():
            return False
        case Sequence(parts):
            return all(_is_nullable(part, empty) for part in parts)
        case Choice(options):
            return any(_is_nullable(option, empty) for option in options)
        case Repeat(body, least, most):
            return least == 0 or most == 0 or _is_nullable(body, empty)
        case Reference(rule):
            return rule in empty


def _ends(expression: Expression, ending: Set[str]) -> bool:
    match expression:
        case Text():
            return True
        case Characters(ranges):
            return bool(ranges)
        case Sequence(parts):
            return all(_ends(part, ending) for part in parts)
        case Choice(options):
            return any(_ends(option, ending) for option in options)
        case Repeat(body, least, _):
            return least == 0 or _ends(body, ending)
        case Reference(rule):
            return rule in ending


def _grow(
    rules: Mapping[str, Expression], holds: Callable[[Expression, Set[str]], bool]
) -> frozenset[str]:
    """The rules for which `holds(expression, rules found so far)`, to the fixed point.

    Only rules that use one just found are looked at again, so that a long chain of rules takes
    as many steps as it has links.
    """
    users: dict[str, list[str]] = {}
    for name, rule in rules.items():
        for used in _references(rule):
            users.setdefault(used, []).append(name)
    found: set[str] = set()
    pending = list(rules)
    while pending:
        name = pending.pop()
        if name not in found and holds(rules[name], found):
            found.add(name)
            pending += users.get(name, ())
    return frozenset(found)


def _nullable(rules: Mapping[str, Expression]) -> frozenset[str]:
    return _grow(rules, _is_nullable)


def _check_ends(rules: Mapping[str, Expression]) -> None:
    endless = rules.keys() - _grow(rules, _ends)
    if endless:
        raise GrammarError(f"the rule {min(endless)!r} never ends: it always needs itself again")


def _first_references(expression: Expression, empty: Set[str]) -> set[str]:
    """The rules that may be called before any byte is taken."""
    match expression:
        case Sequence(parts):
            found: set[str] = set()
            for part in parts:
                found |= _first_references(part, empty)
                if not _is_nullable(part, empty):
                    break
            return found
        case Choice(options):
            return set().union(*(_first_references(option, empty) for option in options))
        case Repeat(body, _, most) if most != 0:
            return _first_references(body, empty)
        case Reference(rule):
            return {rule}
        case _:
            return set()


def _check_left_recursion(rules: Mapping[str, Expression], empty: Set[str]) -> None:
    first = {name: sorted(_first_references(rule, empty)) for name, rule in rules.items()}
    done: set[str] = set()
    for name in rules:
        path: dict[str, int] = {}  # the rules being followed, and how many of their calls were
        trail = [name] if name not in done else []
        while trail:
            at = trail[-1]
            step = path.setdefault(at, 0)
            if step == len(first[at]):
                done.add(at)
                del path[at]
                trail.pop()
                continue
            path[at] += 1
            called = first[at][step]
            if called in path:
                raise GrammarError(
                    f"the rule {called!r} is left-recursive: it can call itself before it takes "
                    "anything; write the repetition with * or put something in front"
                )
            if called not in done:
                trail.append(called)
