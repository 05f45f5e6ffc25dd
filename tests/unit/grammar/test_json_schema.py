"""JSON Schema: every text of the grammar validates, every instance in its order is a text.

`jsonschema` is the oracle. Texts are drawn by following the grammar at random.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections import deque
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.errors import GrammarError
from mlr.grammar.json_schema import json_object_grammar, schema_grammar
from mlr.grammar.matcher import Matcher, State

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


# Schemas with strategies of their instances, members in the schema's order.
Pair = tuple[Any, st.SearchStrategy[Any]]


@st.composite
def leaves(draw: st.DrawFn) -> Pair:
    kind = draw(
        st.sampled_from(
            [
                "any",
                "string",
                "bounded",
                "integer",
                "range",
                "number",
                "limits",
                "boolean",
                "null",
                "enum",
                "const",
                "types",
            ]
        )
    )
    if kind == "any":
        return draw(st.sampled_from([{}, True])), JSON
    if kind == "string":
        return {"type": "string"}, st.text(max_size=10)
    if kind == "bounded":
        least, more = draw(st.integers(0, 5)), draw(st.integers(0, 5))
        schema = {"type": "string", "minLength": least, "maxLength": least + more}
        return schema, st.text(min_size=least, max_size=least + more)
    if kind == "integer":
        return {"type": "integer"}, st.integers(-(10**18), 10**18)
    if kind == "range":
        low = draw(st.integers(-2000, 2000))
        high = low + draw(st.integers(0, 3000))
        return {"type": "integer", "minimum": low, "maximum": high}, st.integers(low, high)
    if kind == "number":
        return {"type": "number"}, st.floats(allow_nan=False, allow_infinity=False)
    if kind == "limits":
        low = draw(st.integers(-50, 50))
        high = low + draw(st.integers(1, 50))
        between = st.integers(low * 8 + 1, high * 8 - 1).map(lambda n: n / 8)
        keys = draw(
            st.sampled_from([("minimum", "maximum"), ("exclusiveMinimum", "exclusiveMaximum")])
        )
        return {"type": "number", keys[0]: low, keys[1]: high}, between
    if kind == "boolean":
        return {"type": "boolean"}, st.booleans()
    if kind == "null":
        return {"type": "null"}, st.none()
    if kind == "types":
        return {"type": ["string", "null"], "maxLength": 4}, st.text(max_size=4) | st.none()
    values = draw(st.lists(JSON, min_size=1, max_size=4))
    if kind == "const":
        return {"const": values[0]}, st.just(values[0])
    return {"enum": values}, st.sampled_from(values)


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Pair]) -> Pair:
    schema, instances = draw(inner)
    prefix = draw(st.lists(inner, max_size=2))
    least, more = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    result = {"type": "array", "items": schema, "minItems": least, "maxItems": least + more}
    if prefix:
        result["prefixItems"] = [one for one, _ in prefix]
    lengths = st.integers(least, least + more)

    @st.composite
    def items(draw: st.DrawFn) -> list[Any]:
        count = draw(lengths)
        own = [strategy for _, strategy in prefix][:count]
        return [draw(one) for one in own + [instances] * (count - len(own))]

    return result, items()


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Pair]) -> Pair:
    members = draw(st.dictionaries(st.text(max_size=4), inner, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(members)), unique=True)) if members else []
    extra = draw(st.none() | st.booleans() | inner.map(lambda pair: pair))
    result: dict[str, Any] = {
        "type": "object",
        "properties": {name: schema for name, (schema, _) in members.items()},
        "required": required,
    }
    more: st.SearchStrategy[Any] | None = None
    if isinstance(extra, tuple):
        result["additionalProperties"], more = extra
    elif extra is not None:
        result["additionalProperties"] = extra
        more = JSON if extra else None

    @st.composite
    def values(draw: st.DrawFn) -> dict[str, Any]:
        out = {}
        for name, (_, strategy) in members.items():
            if name in required or draw(st.booleans()):
                out[name] = draw(strategy)
        if more is not None:
            keys = st.text(max_size=4).filter(lambda name: name not in members)
            out |= draw(st.dictionaries(keys, more, max_size=2))
        return out

    # An object of which nothing is said may hold anything.
    if not members and extra is None:
        return result, st.dictionaries(st.text(max_size=4), JSON, max_size=2)
    return result, values()


@st.composite
def alternatives(draw: st.DrawFn, inner: st.SearchStrategy[Pair]) -> Pair:
    branches = draw(st.lists(inner, min_size=1, max_size=3))
    return (
        {"anyOf": [schema for schema, _ in branches]},
        st.one_of([strategy for _, strategy in branches]),
    )


PAIRS: st.SearchStrategy[Pair] = st.recursive(
    leaves(), lambda inner: arrays(inner) | objects(inner) | alternatives(inner), max_leaves=6
)


@settings(max_examples=80, deadline=None)
@given(pair=PAIRS, seed=st.integers(0, 2**32))
def test_every_text_of_the_grammar_validates(pair: Pair, seed: int) -> None:
    check_texts(pair[0], seed)


@settings(max_examples=120, deadline=None)
@given(pair=PAIRS, data=st.data())
def test_every_instance_is_a_text_of_the_grammar(pair: Pair, data: st.DataObject) -> None:
    schema, instances = pair
    instance = data.draw(instances)
    jsonschema.validate(instance, schema)
    matcher = Matcher(schema_grammar(schema))
    assert matcher.accepts(compact(instance)), (schema, instance)


@settings(max_examples=100, deadline=None)
@given(value=st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_any_object(value: dict[str, Any]) -> None:
    matcher = Matcher(json_object_grammar())
    assert matcher.accepts(compact(value))
    assert matcher.accepts(compact(value, ascii_only=True))
    assert matcher.accepts(json.dumps(value, indent=2, ensure_ascii=False).encode())
    assert not matcher.accepts(compact([value]))
    assert not matcher.accepts(compact(value) + b" ")


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


PATTERNS = [
    "^[a-z]+$",
    "^[0-9]{3}-[0-9]{4}$",
    "^(red|green|blue)?$",
    "b",
    "^a",
    "z$",
    "^a$|^b+c$",
    r"^\d{2}\.\w*$",
    r'^["\\/]\t$',
    "^[^a-z]{1,3}$",
    "^.{2}$",
    "^(ab?){2,}$",
    "^é世+$",
    r"^\u00e9\x41$",
    "^(?:x|y)(?<name>z)?$",
    "^[+-]?[a\\-c]$",
    "",
]


@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern: str, data: st.DataObject, seed: int) -> None:
    schema = {"type": "string", "pattern": pattern}
    matcher = Matcher(schema_grammar(schema))
    python = pattern.replace("(?<name>", "(?P<name>").replace("$", r"\Z")
    text = draw_text(matcher, random.Random(seed), 12)
    assert re.search(python, json.loads(text)), text
    value = data.draw(st.text('ab"\\/cxyz.0129é世\t\n-+', max_size=6) | st.from_regex(python))
    # \d and \w are ASCII's in JSON Schema, and a text's \r and \u2028 end lines
    if value.isascii() or not re.search(r"\\[dw]|\.\{", pattern):
        assert matcher.accepts(compact(value)) == bool(
            re.search(
                python.replace("^.", r"^[^\n\r]", 1) if ".{" in python else python, value, re.ASCII
            )
            and value.encode("utf-8", "ignore").decode() == value
        ), value


@pytest.mark.parametrize("name", ["date", "time", "date-time", "uuid"])
def test_formats(name: str) -> None:
    check_texts({"type": "string", "format": name}, 1, 200)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "date",
            ["2024-02-29", "2000-02-29", "1999-12-31"],
            ["2023-02-29", "1900-02-29", "2024-04-31", "2024-1-1"],
        ),
        ("time", ["00:00:00Z", "23:59:59.5+02:00"], ["24:00:00Z", "12:00:00", "12:60:00Z"]),
        ("date-time", ["2024-02-29T12:30:00Z"], ["2024-02-29 12:30:00Z"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567e89b12d3a456426614174000"]),
    ],
)
def test_examples_of_formats(name: str, good: list[str], bad: list[str]) -> None:
    matcher = Matcher(schema_grammar({"type": "string", "format": name}))
    assert all(matcher.accepts(compact(text)) for text in good)
    assert not any(matcher.accepts(compact(text)) for text in bad)


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
ENDLESS = {
    "$defs": {
        "a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}
    },
    "$ref": "#/$defs/a",
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


def test_numbers_of_any_size_are_constants() -> None:
    matcher = Matcher(schema_grammar({"type": "integer", "enum": [10**400, 2.0, 0.5]}))
    assert matcher.accepts(b"1" + b"0" * 400)
    assert matcher.accepts(b"2.0")
    assert not matcher.accepts(b"0.5")


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
