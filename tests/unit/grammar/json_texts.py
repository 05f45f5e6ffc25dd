"""Texts drawn by following a grammar at random, and JSON to hold against grammars."""

from __future__ import annotations

import json
import random
from collections import deque
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from hypothesis import strategies as st

from mlr.grammar.json_schema import schema_grammar
from mlr.grammar.matcher import Matcher, State

__all__ = ["JSON", "check_texts", "compact", "draw_text"]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def compact(value: Any, ascii_only: bool = False) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":")).encode()


def draw_text(matcher: Matcher, chance: random.Random, wanted: int = 60) -> str:
    """A text of the grammar: random bytes among those allowed, ended soon after `wanted`."""
    state, data = matcher.start, bytearray()
    while len(data) < wanted and not state.finished:
        if state.accepting and chance.random() < 0.3:
            return data.decode()
        data.append(chance.choice(state.allowed))
        after = state.table[data[-1]]
        assert after is not None
        state = after
    return (bytes(data) + some_end(state)).decode()


def some_end(state: State) -> bytes:
    """Bytes that complete a text: the fewest where few states are near, else closing ones first."""
    data = b""
    while (near := near_end(state)) is None:
        byte = next(byte for byte in b'"]}0' + state.allowed if byte in state.allowed)
        data += bytes((byte,))
        after = state.table[byte]
        assert after is not None
        state = after
        assert len(data) < 10_000
    return data + near


def near_end(state: State) -> bytes | None:
    """The fewest bytes that complete a text, found breadth first among the nearest 100 states."""
    ways = {state: b""}
    queue = deque([state])
    while queue and len(ways) < 100:
        one = queue.popleft()
        if one.accepting:
            return ways[one]
        for byte in one.allowed:
            after = one.table[byte]
            if after is not None and after not in ways:
                ways[after] = ways[one] + bytes((byte,))
                queue.append(after)
    return None


def check_texts(schema: Any, seed: int, count: int = 10) -> None:
    matcher = Matcher(schema_grammar(schema))
    chance = random.Random(seed)
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    for _ in range(count):
        text = draw_text(matcher, chance)
        validator.validate(json.loads(text))
