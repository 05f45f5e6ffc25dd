"""`$ref` and `allOf` of JSON Schema: several schemas as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from mlr.errors import GrammarError
from mlr.grammar.json_types import check_shape

__all__ = ["ANNOTATIONS", "merge", "resolve"]

ANNOTATIONS = frozenset(
    {
        "$comment",
        "$defs",
        "$schema",
        "default",
        "definitions",
        "deprecated",
        "description",
        "discriminator",  # OpenAPI's, and Pydantic's: which member tells the branches apart
        "example",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)
"""Keywords that say nothing about which values are valid."""

MAX_STEPS = 64
"""References and parts in one merged schema; more is a schema that contains itself."""

_COMBINED: Mapping[str, Callable[[Any, Any], Any]] = {
    "minimum": max,
    "exclusiveMinimum": max,
    "minItems": max,
    "minLength": max,
    "minProperties": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "maxItems": min,
    "maxLength": min,
    "maxProperties": min,
}


def resolve(document: Any, pointer: Any, where: str) -> Any:
    """The schema within `document` that a `$ref` names."""
    if not isinstance(pointer, str) or (pointer != "#" and not pointer.startswith("#/")):
        raise GrammarError(
            f"{where}.$ref: {pointer!r} is not supported; only references into the schema "
            "itself are, like #/$defs/name"
        )
    value = document
    for part in pointer.split("/")[1:]:
        part = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise GrammarError(f"{where}.$ref: there is nothing at {pointer!r}")
    return value


def merge(document: Any, schema: Mapping[str, Any], where: str) -> Any:
    """`schema` with its `$ref` and `allOf` worked in: a schema without either.

    Raises `GrammarError` for parts that cannot be said in one schema.
    """
    result: Any = {}
    pending: list[Any] = [schema]
    steps = 0
    while pending:
        part = pending.pop(0)
        steps += 1
        if steps > MAX_STEPS:
            raise GrammarError(f"{where}: over {MAX_STEPS} references or parts of allOf in one")
        if part is True:
            continue
        if part is False:
            raise GrammarError(f"{where}: no value is valid under false")
        check_shape(part, where)
        own = {
            name: item
            for name, item in part.items()
            if name not in ANNOTATIONS and name not in ("$ref", "allOf")
        }
        result = _both(result, own, where)
        if "$ref" in part:
            pending.append(resolve(document, part["$ref"], where))
        if "allOf" in part:
            pending += part["allOf"]
    return result


def _both(one: Mapping[str, Any], other: Mapping[str, Any], where: str) -> dict[str, Any]:
    _check_closed(one, other, where)
    _check_closed(other, one, where)
    result = dict(one)
    for name, item in other.items():
        if name not in result or result[name] == item:
            result[name] = item
        elif name == "type":
            result[name] = _shared_types(result[name], item, where)
        elif name == "required":
            result[name] = list(dict.fromkeys([*result[name], *item]))
        elif name == "properties":
            both = dict(result[name])
            for inner, value in item.items():
                both[inner] = {"allOf": [both[inner], value]} if inner in both else value
            result[name] = both
        elif name in _COMBINED:
            try:
                result[name] = _COMBINED[name](result[name], item)
            except TypeError:
                raise GrammarError(f"{where}.{name} must be a number") from None
        else:
            raise GrammarError(f"{where}: two different {name!r} for one value are not supported")
    return result


def _check_closed(one: Mapping[str, Any], other: Mapping[str, Any], where: str) -> None:
    """`additionalProperties` of one part is about the properties of that part alone, and `items`
    about what comes after its own `prefixItems`."""
    if one.get("items", True) is not True and _prefix(other) > _prefix(one):
        raise GrammarError(
            f"{where}: items beside prefixItems of another part of allOf is not supported"
        )
    if one.get("additionalProperties", True) is True:
        return
    if any(
        set(other.get(name, ())) - set(one.get(name, ()))
        for name in ("properties", "patternProperties")
    ):
        raise GrammarError(
            f"{where}: additionalProperties beside properties of another part of allOf "
            "is not supported"
        )


def _prefix(schema: Mapping[str, Any]) -> int:
    items = schema.get("prefixItems", ())
    return len(items) if isinstance(items, list) else 0


def _shared_types(one: Any, other: Any, where: str) -> list[str]:
    left, right = ([types] if isinstance(types, str) else types for types in (one, other))
    shared = [name for name in left if name in right]
    for narrow, wide in ((left, right), (right, left)):
        if "integer" in narrow and "number" in wide and "integer" not in shared:
            shared.append("integer")
    if not shared:
        raise GrammarError(f"{where}: no value has both of the types {one!r} and {other!r}")
    return shared
