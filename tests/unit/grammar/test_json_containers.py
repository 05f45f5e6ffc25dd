"""Objects by number and names of their members, arrays of different items, multiples."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.errors import GrammarError
from mlr.grammar.json_schema import schema_grammar
from mlr.grammar.matcher import Matcher
from tests.unit.grammar.json_texts import check_texts, compact

NULL = {"type": "null"}


@st.composite
def counted(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from("abcd"), unique=True))
    least = draw(st.integers(0, 3))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": dict.fromkeys(names, NULL),
        "required": draw(st.lists(st.sampled_from(names), unique=True)) if names else [],
        "additionalProperties": draw(st.sampled_from([False, {"type": "integer"}])),
        "minProperties": least,
    }
    if draw(st.booleans()):
        schema["maxProperties"] = least + draw(st.integers(0, 2))
    return schema


def values(schema: dict[str, Any], data: st.DataObject) -> list[dict[str, Any]]:
    """Objects that may be valid, the named members first and in their order."""
    names = [*schema.get("properties", {}), *schema.get("required", [])]
    names = list(dict.fromkeys(names))
    member = st.tuples(st.text("xyz1", max_size=3), st.sampled_from([None, 1]))

    def ordered(chosen: set[str], more: list[tuple[str, Any]]) -> dict[str, Any]:
        named: dict[str, Any] = {name: None for name in names if name in chosen}
        return named | {name: value for name, value in more if name not in names}

    some = st.sets(st.sampled_from(names)) if names else st.just(set[str]())
    return data.draw(st.lists(st.builds(ordered, some, st.lists(member, max_size=3)), min_size=4))


@settings(max_examples=60, deadline=None)
@given(schema=counted(), data=st.data(), seed=st.integers(0, 2**32))
def test_numbers_of_members(schema: dict[str, Any], data: st.DataObject, seed: int) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    try:
        matcher = Matcher(schema_grammar(schema))
    except GrammarError as error:
        assert "no object has this many members" in str(error)  # noqa: PT017
        return
    check_texts(schema, seed, 5)  # a name that comes twice is read as one
    for value in values(schema, data):
        named = sum(name in schema["properties"] for name in value)
        valid = validator.is_valid(value)
        if valid and named >= schema["minProperties"] - 1:
            assert matcher.accepts(compact(value)), (schema, value)
        if not valid:
            assert not matcher.accepts(compact(value)), (schema, value)


PATTERNS = {
    "^x": {"type": ["integer", "null"]},
    "1": {"type": ["null", "integer"]},
    "^y$": False,
    "z": {"type": "integer", "minimum": 1},
}


@settings(max_examples=30, deadline=None)
@given(
    chosen=st.sets(st.sampled_from(list(PATTERNS))),
    names=st.sampled_from([None, {"pattern": "^[xy1]*$"}, {"maxLength": 2}, {"enum": ["x", "z1"]}]),
    more=st.sampled_from([False, True, {"type": "integer"}]),
    named=st.sampled_from([{}, {"x1": NULL}, {"zz": True}]),
    data=st.data(),
    seed=st.integers(0, 2**32),
)
def test_names_of_members(
    chosen: set[str],
    names: dict[str, Any] | None,
    more: Any,
    named: dict[str, Any],
    data: st.DataObject,
    seed: int,
) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "patternProperties": {name: PATTERNS[name] for name in sorted(chosen)},
        "additionalProperties": more,
        "properties": named,
    }
    if names is not None:
        schema["propertyNames"] = names
    validator = jsonschema.Draft202012Validator(schema)
    matcher = Matcher(schema_grammar(schema))
    check_texts(schema, seed, 5)
    for value in values(schema, data):
        assert matcher.accepts(compact(value)) == validator.is_valid(value), (schema, value)


@settings(max_examples=60, deadline=None)
@given(
    items=st.sampled_from([{"enum": ["a", "b", 1, 1.0, None]}, {"type": "boolean"}]),
    least=st.integers(0, 3),
    more=st.none() | st.integers(0, 3),
    data=st.data(),
)
def test_items_that_differ(
    items: dict[str, Any], least: int, more: int | None, data: st.DataObject
) -> None:
    schema = {"type": "array", "items": items, "uniqueItems": True, "minItems": least}
    if more is not None:
        schema["maxItems"] = least + more
    if least > 2 and items.get("type") == "boolean":
        with pytest.raises(GrammarError, match="minItems is 3, and there are 2 values"):
            schema_grammar(schema)
        return
    validator = jsonschema.Draft202012Validator(schema)
    matcher = Matcher(schema_grammar(schema))
    check_texts(schema, least, 5)
    one = st.sampled_from([*items.get("enum", [True, False]), "c"])
    for value in data.draw(st.lists(st.lists(one, max_size=5), min_size=5)):
        if not any(isinstance(item, float) for item in value):  # 1.0 is spelled 1
            assert matcher.accepts(compact(value)) == validator.is_valid(value), value


@settings(max_examples=30, deadline=None)
@given(
    divisor=st.sampled_from([1, 2, 3, 7, 10, 25, 40, 60, 100, 1000, 5.0]),
    low=st.none() | st.integers(-3000, 3000),
    size=st.none() | st.integers(0, 3000),
    kind=st.sampled_from(["integer", "number"]),
    data=st.data(),
)
def test_multiples(
    divisor: float, low: int | None, size: int | None, kind: str, data: st.DataObject
) -> None:
    schema: dict[str, Any] = {"type": kind, "multipleOf": divisor}
    if low is not None:
        schema["minimum"] = low
    if size is not None:
        schema["maximum"] = (low or 0) + size
    validator = jsonschema.Draft202012Validator(schema)
    try:
        matcher = Matcher(schema_grammar(schema))
    except GrammarError as error:
        assert "no whole number" in str(error)  # noqa: PT017
        around = range(low or 0, (low or 0) + (size or 0) + 1)
        assert low is not None
        assert not any(validator.is_valid(value) for value in around)
        return
    check_texts(schema, 1, 5)
    near = st.integers(-100, 100).map(lambda n: n * int(divisor)) | st.integers(-3000, 3000)
    for value in data.draw(st.lists(near, min_size=8)):
        assert matcher.accepts(str(value).encode()) == validator.is_valid(value), (schema, value)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        # dict[str, int] that is not empty
        (
            {
                "type": "object",
                "additionalProperties": {"type": "integer"},
                "minProperties": 1,
                "maxProperties": 2,
            },
            [{"a": 1}, {"a": 1, "b": 2}],
            [{}, {"a": 1, "b": 2, "c": 3}, {"a": "b"}],
        ),
        # dict[Literal["a", "b"], int]
        (
            {
                "type": "object",
                "propertyNames": {"enum": ["a", "b"]},
                "additionalProperties": {"type": "integer"},
            },
            [{}, {"a": 1}, {"b": 1, "a": 2}],
            [{"c": 1}, {"a": None}],
        ),
        (
            {
                "type": "object",
                "patternProperties": {"^[a-z]{2}$": NULL},
                "additionalProperties": False,
            },
            [{}, {"ab": None}],
            [{"a": None}, {"ab": 1}, {"abc": None}],
        ),
    ],
)
def test_examples(schema: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    matcher = Matcher(schema_grammar(schema))
    for value in good:
        jsonschema.validate(value, schema)
        assert matcher.accepts(compact(value)), value
    assert [value for value in bad if matcher.accepts(compact(value))] == []


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"minProperties": 2}, "only one counts for minProperties, since names may come twice"),
        ({"minProperties": 2, "maxProperties": 1}, "minProperties is 2 and maxProperties is 1"),
        ({"patternProperties": {"(": {}}}, r"schema\.patternProperties: .*not closed"),
        ({"patternProperties": {name: {} for name in "abcde"}}, "at most 4 patterns"),
        ({"propertyNames": {"type": "integer"}}, "propertyNames: only keywords of strings"),
        ({"propertyNames": {"const": "a"}, "required": ["b"]}, "is required, and propertyNames"),
        ({"uniqueItems": True}, "uniqueItems is supported for items of an enum of at most 8"),
        ({"uniqueItems": True, "items": {"enum": list(range(9))}}, "at most 8 values"),
        ({"type": "number", "multipleOf": 0.01}, "a whole number above 0: .* readers round"),
        ({"type": "integer", "multipleOf": 0}, "a whole number above 0"),
        ({"type": "integer", "multipleOf": 1234567}, "multipleOf is too large beside these bounds"),
        (
            {
                "allOf": [
                    {"properties": {"a": {}}, "additionalProperties": False},
                    {"patternProperties": {"b": {}}},
                ]
            },
            "additionalProperties beside",
        ),
    ],
)
def test_what_is_not_supported_is_named(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        Matcher(schema_grammar(schema))


def test_names_that_come_twice_are_one() -> None:
    schema = {"type": "object", "minProperties": 1, "properties": {"a": NULL, "b": NULL}}
    matcher = Matcher(schema_grammar(schema))
    assert matcher.accepts(b'{"b":null}')
    assert not matcher.accepts(b'{"b":null,"b":null}')
    assert json.loads('{"b":null,"b":null}') == {"b": None}
