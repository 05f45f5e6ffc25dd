"""Numbers within bounds of any kind: `jsonschema` says which are."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.grammar.json_schema import schema_grammar
from mlr.grammar.matcher import Matcher
from tests.unit.grammar.json_texts import check_texts

LOWER, UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
DECIMALS = st.builds(
    lambda whole, digits: whole / 10**digits, st.integers(-(10**6), 10**6), st.integers(0, 7)
)
BOUNDS = DECIMALS | st.integers(-1000, 1000) | st.floats(-2, 2)


@st.composite
def schemas(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": kind}
    ends = sorted([draw(BOUNDS), draw(BOUNDS)])
    if ends[0] + 2 > ends[1] and kind == "integer":
        ends[1] = ends[0] + 2
    if ends[0] == ends[1]:
        ends[1] += 0.5
    for end, names in zip(ends, (LOWER, UPPER), strict=True):
        if draw(st.booleans()):
            schema[draw(st.sampled_from(names))] = end
    return schema


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["number", "integer"]), seed=st.integers(0, 2**32))
def test_bounds(data: st.DataObject, kind: str, seed: int) -> None:
    schema = data.draw(schemas(kind))
    matcher = Matcher(schema_grammar(schema))
    check_texts(schema, seed, 5)
    near = [schema[name] for name in (*LOWER, *UPPER) if name in schema]
    steps = st.sampled_from([-1, -0.1, -1e-6, -1e-12, 0, 1e-12, 1e-6, 0.1, 1])
    close = st.builds(float.__add__, st.sampled_from([0.0, *map(float, near)]), steps)
    for value in data.draw(st.lists(close | DECIMALS, min_size=5, max_size=5)):
        # 15 digits: no two such texts are one double
        text = f"{value:.15g}" if kind == "number" else str(round(value))
        if "e" not in text:
            valid = jsonschema.Draft202012Validator(schema).is_valid(json.loads(text))
            assert matcher.accepts(text.encode()) == valid, (schema, text)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"minimum": 0.5}, ["0.5", "0.50", "0.51", "1", "700.25"], ["0.4999", "0", "-1", "0.05"]),
        ({"exclusiveMinimum": 0.5}, ["0.500001", "1"], ["0.5", "0.50", "0.4"]),
        ({"maximum": -0.25}, ["-0.25", "-1", "-0.3"], ["-0.2", "0", "-0", "0.3"]),
        ({"minimum": -0.5, "maximum": 0.5}, ["0", "-0.5", "0.5", "-0"], ["-0.51", "0.6", "1"]),
        ({"minimum": 0.1, "maximum": 0.1}, ["0.1", "0.10"], ["0", "0.11", "1"]),
        ({"minimum": 1e-7}, ["0.0000001", "1"], ["0.00000009", "0"]),
        # the next double is 1 itself
        ({"exclusiveMaximum": 1}, ["0.9999999999"], ["0.99999999999999999999", "1", "1.0"]),
        ({"type": "integer", "minimum": 0.5, "maximum": 2.5}, ["1", "2"], ["0", "3"]),
        ({"type": "integer", "exclusiveMinimum": 1, "minimum": 0.5}, ["2"], ["1"]),
    ],
)
def test_examples(schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    matcher = Matcher(schema_grammar({"type": "number"} | schema))
    assert [text for text in good if not matcher.accepts(text.encode())] == []
    assert [text for text in bad if matcher.accepts(text.encode())] == []


@settings(max_examples=60, deadline=None)
@given(low=st.integers(-(10**6), 10**6), size=st.integers(0, 10**6), data=st.data())
def test_integers_within_bounds(low: int, size: int, data: st.DataObject) -> None:
    high = low + size
    matcher = Matcher(schema_grammar({"type": "integer", "minimum": low, "maximum": high}))
    above = Matcher(schema_grammar({"type": "integer", "exclusiveMinimum": low}))
    below = Matcher(schema_grammar({"type": "integer", "exclusiveMaximum": low}))
    numbers = data.draw(st.lists(st.integers(low - 50, high + 50), min_size=5))
    for number in [*numbers, low - 1, low, low + 1, high - 1, high, high + 1, 0, -low, 10**12]:
        text = str(number).encode()
        assert matcher.accepts(text) == (low <= number <= high), number
        assert above.accepts(text) == (number > low), number
        assert below.accepts(text) == (number < low), number
    assert not matcher.accepts(b"0" + str(abs(low)).encode())


def test_numbers_of_any_size_are_constants() -> None:
    matcher = Matcher(schema_grammar({"type": "integer", "enum": [10**400, 2.0, 0.5]}))
    assert matcher.accepts(b"1" + b"0" * 400)
    assert matcher.accepts(b"2.0")
    assert not matcher.accepts(b"0.5")
