"""What a schema may not ask for is refused by name, and nothing ends in another error."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.errors import GrammarError
from mlr.grammar.json_schema import schema_grammar
from mlr.grammar.matcher import Matcher
from tests.unit.grammar.json_texts import JSON

ENDLESS = {
    "$defs": {
        "a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}
    },
    "$ref": "#/$defs/a",
}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "string", "contentEncoding": "base64"}, "contentEncoding"),
        ({"not": {"type": "string"}}, "'not'"),
        (
            {"type": "object", "properties": {"a": {"multipleOf": 0.5}}},
            r"schema\.properties\.a.*multipleOf",
        ),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "contains": {}}, "contains"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"if": {}, "then": {}}, "'if'"),
        ({"type": "string", "format": "iri"}, "format: 'iri' is not supported"),
        ({"type": "string", "pattern": r"(a)\1"}, r"the escape \\1"),
        ({"type": "string", "pattern": "a^b"}, r"\^ other than at the beginning"),
        ({"type": "string", "pattern": "(a$)b"}, r"\$ other than at the end"),
        ({"type": "string", "pattern": "a)"}, "closes nothing"),
        ({"type": "string", "pattern": "(a"}, "not closed"),
        ({"type": "string", "pattern": "a{2,1}"}, "numbers of a repetition"),
        ({"type": "string", "pattern": "*"}, "repetition of nothing"),
        ({"type": "string", "pattern": r"\p{L}"}, "escape"),
        ({"type": "string", "pattern": "[" + "a" * 5000}, "limit"),
        ({"type": "integer", "minimum": 1e300}, "at most"),
        ({"type": "integer", "minimum": 0.5, "maximum": 0.7}, "no whole number"),
        ({"type": "number", "minimum": "1"}, "must be a number"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no whole number"),
        ({"type": "number", "minimum": 3, "maximum": 2}, "no number"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength is 3 and maxLength is 2"),
        ({"type": "strnig"}, "must be one of"),
        ({"type": []}, "must be one of"),
        ({"enum": []}, "not empty"),
        ({"enum": [1], "type": "string"}, "no value of its enum"),
        ({"enum": ["a"], "minLength": 1}, "'minLength' beside enum"),
        ({"const": float("nan")}, "not JSON"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "branches 0 and 1 may both"),
        ({"oneOf": [{"type": "object"}, {"type": "object"}]}, "branches 0 and 1 may both"),
        ({"$ref": "http://example.com/x"}, "only references into the schema"),
        ({"$ref": "#/$defs/none"}, "there is nothing at"),
        ({"$ref": "#"}, "never ends|left-recursive"),
        (
            {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
            "over 64 references",
        ),
        (
            ENDLESS,
            "never ends",
        ),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "both of the types"),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "two different 'pattern'"),
        (
            {
                "allOf": [
                    {"properties": {"a": {}}, "additionalProperties": False},
                    {"properties": {"b": {}}},
                ]
            },
            "additionalProperties beside",
        ),
        (False, "no value is valid"),
        (3, "must be an object"),
        ({"properties": []}, "properties must be"),
        ({"required": "a"}, "required must be"),
        ({"type": "object", "properties": {"\ud800": {}}}, "surrogate"),
        ({"type": "array", "minItems": -1}, "minItems"),
        ({"description": "x" * 300_000}, "too large"),
        (
            {"properties": {"a": {"allOf": [{"$ref": "#"}]}}, "required": ["a"]},
            "nested over 64 deep",
        ),
        ({"allOf": [{"items": False}, {"prefixItems": [{}]}]}, "items beside prefixItems"),
        (
            {"oneOf": [{"const": 10**400}, {"type": "integer"}]},
            "branches 0 and 1 may both",
        ),
    ],
)
def test_what_is_not_supported_is_named(schema: Any, message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        Matcher(schema_grammar(schema))


def test_deep_schemas_are_refused() -> None:
    schema: Any = {"type": "null"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(GrammarError, match="nested over"):
        schema_grammar(schema)


@settings(max_examples=120, deadline=None)
@given(
    schema=st.recursive(
        JSON,
        lambda inner: st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "items",
                    "enum",
                    "const",
                    "anyOf",
                    "oneOf",
                    "allOf",
                    "$ref",
                    "required",
                    "minLength",
                    "pattern",
                    "format",
                    "minimum",
                    "prefixItems",
                    "maxItems",
                    "additionalProperties",
                    "$defs",
                ]
            ),
            inner | st.sampled_from(["object", "array", "string", "#", "#/$defs", "^a(b|c)*$"]),
            max_size=4,
        ),
        max_leaves=10,
    )
)
def test_anything_gives_a_grammar_or_an_error(schema: Any) -> None:
    with contextlib.suppress(GrammarError):
        Matcher(schema_grammar(schema))
