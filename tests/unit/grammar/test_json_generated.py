"""Schemas made at random: texts of their grammar validate, instances are texts of it.

`jsonschema` is the oracle.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.grammar.json_schema import json_object_grammar, schema_grammar
from mlr.grammar.matcher import Matcher
from tests.unit.grammar.json_texts import JSON, check_texts, compact

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
