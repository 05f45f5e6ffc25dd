"""Schemas by example: references, alternatives, merging, names of properties."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from mlr.grammar.json_schema import schema_grammar
from mlr.grammar.matcher import Matcher
from tests.unit.grammar.json_texts import check_texts, compact

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value"],
        }
    },
    "$ref": "#/$defs/node",
}

SHAPES = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"kind": {"const": "a"}, "x": {"type": "null"}},
            "required": ["kind", "x"],
        },
        {"type": "object", "properties": {"kind": {"enum": ["b", "c"]}}, "required": ["kind"]},
        {"type": "string"},
    ]
}

MERGED = {
    "type": "object",
    "properties": {"a": {"type": "number"}},
    "allOf": [
        {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        {"$ref": "#/$defs/more"},
    ],
    "required": ["a"],
    "$defs": {"more": {"properties": {"a": {"type": "integer", "minimum": 3}}}},
}

NULLABLE = {"title": "x", "anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}
SHARED = {
    "type": "object",
    "required": ["k"],
    "anyOf": [{"properties": {"k": {"const": 1}}}, {"properties": {"k": {"type": "null"}}}],
}
OPEN = {
    "type": "object",
    "properties": {"ab": {"type": "null"}},
    "required": ["ab", "zz"],
    "additionalProperties": {"type": "integer"},
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            TREE,
            [{"value": 1}, {"value": 1, "children": [{"value": 2, "children": []}]}],
            [{}, {"value": ""}],
        ),
        (
            SHAPES,
            [{"kind": "a", "x": None}, {"kind": "c"}, "text"],
            [{"kind": "b", "x": None}, {"kind": "d"}, 1],
        ),
        (MERGED, [{"a": 3, "b": ""}], [{"a": 2, "b": ""}, {"a": 3.5, "b": ""}, {"a": 4}]),
        (NULLABLE, [1, None], [0, "1"]),
        (SHARED, [{"k": 1}, {"k": None}], [{}, {"k": 2}]),
        (
            OPEN,
            [{"ab": None, "zz": 1}, {"ab": None, "zz": 1, "a": 2, "abc": 3, "": 4}],
            [{"ab": None}, {"ab": None, "zz": 1, "c": ""}],
        ),
        (
            {"type": "array", "prefixItems": [{"type": "null"}], "items": False},
            [[], [None]],
            [[None, None]],
        ),
        ({"type": "object"}, [{}, {"a": [1, {"b": None}]}], [[]]),
        (
            {"enum": [1, "a", None, {"x": [1]}], "type": ["string", "object"]},
            ["a", {"x": [1]}],
            [1, None],
        ),
        ({"type": "number", "minimum": 0}, [0, 0.5, 17, 3.25], [-1, -0.5]),
        (
            {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            [0.5, 1, 0.001],
            [0, 1.5, 1.0001],
        ),
    ],
)
def test_examples(schema: Any, good: list[Any], bad: list[Any]) -> None:
    matcher = Matcher(schema_grammar(schema))
    for value in good:
        jsonschema.validate(value, schema)
        assert matcher.accepts(compact(value)), value
    for value in bad:
        assert not matcher.accepts(compact(value)), value
    check_texts(schema, 5, 40)


def test_a_name_cannot_be_spelled_in_another_way() -> None:
    """Else an additional property could be one that the schema says something else about."""
    schema = {"properties": {"a": {"type": "null"}}, "additionalProperties": True}
    matcher = Matcher(schema_grammar(schema))
    assert matcher.accepts(b'{"b":1}')
    assert matcher.accepts(b'{"a":null,"aa":1,"":1,"\\"":2}')
    assert not matcher.accepts(b'{"\\u0061":1}')
    assert not matcher.accepts(b'{"a":null,"a":1}')


def test_properties_may_be_many() -> None:
    names = [f"p{number}" for number in range(300)]
    schema = {"type": "object", "properties": {name: {"type": "integer"} for name in names}}
    matcher = Matcher(schema_grammar(schema))
    assert matcher.accepts(compact(dict.fromkeys(names, 1)))
    assert matcher.accepts(b'{"p299":1}')
    assert matcher.accepts(b"{}")


@pytest.mark.parametrize("wrap", ["properties", "items", "anyOf"])
def test_a_long_chain_of_references(wrap: str) -> None:
    def one(schema: dict[str, Any]) -> dict[str, Any]:
        forms: dict[str, dict[str, Any]] = {
            "properties": {"type": "object", "properties": {"a": schema}, "required": ["a"]},
            "items": {"type": "array", "items": schema, "minItems": 1},
            "anyOf": {"anyOf": [schema, {"const": 1}]},
        }
        return forms[wrap]

    definitions = {f"d{i}": one({"$ref": f"#/$defs/d{i + 1}"}) for i in range(1000)}
    schema = {"$defs": {**definitions, "d1000": {"const": 0}}, "$ref": "#/$defs/d0"}
    matcher = Matcher(schema_grammar(schema))
    begin = {"properties": b'{"a":{"a":', "items": b"[[", "anyOf": b"0"}[wrap]
    assert matcher.start.advance(begin) is not None
    assert matcher.start.advance(b"2") is None
