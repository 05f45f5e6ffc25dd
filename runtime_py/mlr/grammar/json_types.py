"""The types of JSON Schema: which keywords are about which, and which values are of which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.errors import GrammarError

__all__ = [
    "COMBINING",
    "KEYWORDS",
    "OF_SOME_TYPE",
    "apart",
    "check_shape",
    "counts",
    "is_a",
    "literals",
    "same",
    "types_of",
]

_OF_NUMBERS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
)
KEYWORDS: Mapping[str, frozenset[str]] = {
    "object": frozenset(
        {"properties", "required", "additionalProperties", "patternProperties", "propertyNames"}
        | {"minProperties", "maxProperties"}
    ),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": _OF_NUMBERS,
    "integer": _OF_NUMBERS,
    "boolean": frozenset(),
    "null": frozenset(),
}
OF_SOME_TYPE = frozenset().union(*KEYWORDS.values())
COMBINING = ("anyOf", "oneOf")

MAX_COUNT = 1_000_000


def check_shape(schema: Any, where: str) -> None:
    """Raise `GrammarError` for a schema that is no object, or has fields of a wrong kind."""
    if not isinstance(schema, Mapping):
        raise GrammarError(f"{where} must be an object, true or false")
    types = schema.get("type", "object")
    names = types if isinstance(types, list) else [types]
    if not names or not all(isinstance(name, str) and name in KEYWORDS for name in names):
        raise GrammarError(
            f"{where}.type must be one of {', '.join(KEYWORDS)} or a list of them, got {types!r}"
        )
    if not isinstance(schema.get("properties", {}), Mapping):
        raise GrammarError(f"{where}.properties must be an object")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(item, str) for item in required):
        raise GrammarError(f"{where}.required must be a list of names")
    for keyword in ("anyOf", "oneOf", "allOf", "enum"):
        values = schema.get(keyword, [None])
        if not isinstance(values, list) or not values:
            raise GrammarError(f"{where}.{keyword} must be a list that is not empty")


def counts(schema: Mapping[str, Any], low: str, high: str, where: str) -> tuple[int, int | None]:
    """The values of two keywords that say how many there may be. Raises `GrammarError`."""
    values: list[int | None] = []
    for name in (low, high):
        value = schema.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT
        ):
            raise GrammarError(f"{where}.{name} must be a whole number from 0 to {MAX_COUNT}")
        values.append(value)
    least, most = values[0] or 0, values[1]
    if most is not None and most < least:
        raise GrammarError(f"{where}: {low} is {least} and {high} is {most}")
    return least, most


def types_of(schema: Mapping[str, Any]) -> list[str]:
    """The types of a schema; without `type`, those that its keywords are about."""
    types = schema.get("type")
    if types is None:
        about = [
            name
            for name, keywords in KEYWORDS.items()
            if name != "integer" and schema.keys() & keywords
        ]
        return about or [name for name in KEYWORDS if name != "integer"]
    return [types] if isinstance(types, str) else list(types)


def is_a(value: Any, name: str) -> bool:
    """Whether a JSON value is of a type."""
    match name:
        case "object":
            return isinstance(value, Mapping)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
    if isinstance(value, int):
        return not isinstance(value, bool)
    return isinstance(value, float) and (name == "number" or value.is_integer())


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(one == other)


def literals(schema: Mapping[str, Any]) -> list[Any]:
    """The values of `enum` and `const` that are of the schema's types; for a schema of booleans
    alone, those."""
    if schema.get("type") == "boolean" and not {"enum", "const"} & schema.keys():
        return [True, False]
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if "enum" in schema and "const" in schema:
        values = [value for value in values if same(value, schema["const"])]
    types = types_of({"type": schema["type"]} if "type" in schema else {})
    return [value for value in values if any(is_a(value, name) for name in types)]


def apart(one: Any, other: Any) -> bool:
    """Whether certainly no value is valid under both of two merged schemas."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one is False or other is False
    for schema in (one, other):
        check_shape(schema, "a branch of oneOf")
    if set(COMBINING) & (one.keys() | other.keys()):
        return False
    left, right = _constants(one), _constants(other)
    if left is not None and right is not None:
        return not any(same(a, b) for a in left for b in right)
    types = [set(_declared(schema)) for schema in (one, other)]
    for names in types:
        if "number" in names:
            names.add("integer")
    if not types[0] & types[1]:
        return True
    if types[0] & types[1] != {"object"}:
        return False
    shared = set(one.get("required", ())) & set(other.get("required", ()))
    members = (one.get("properties", {}), other.get("properties", {}))
    return any(
        name in members[0] and name in members[1] and apart(members[0][name], members[1][name])
        for name in shared
    )


def _constants(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _declared(schema: Mapping[str, Any]) -> list[str]:
    values = _constants(schema)
    if values is not None:
        return [name for name in KEYWORDS if any(is_a(value, name) for value in values)]
    types = schema.get("type", list(KEYWORDS))
    return [types] if isinstance(types, str) else list(types)
