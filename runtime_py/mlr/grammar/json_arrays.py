"""Arrays of JSON Schema: their items, how many, and that none is there twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.errors import GrammarError
from mlr.grammar.expressions import EMPTY, Expression, Reference, Repeat, choice, sequence, text
from mlr.grammar.json_converter import Converter
from mlr.grammar.json_merge import merge
from mlr.grammar.json_text import COMMA, SPACE, literal
from mlr.grammar.json_types import counts, literals, same

__all__ = ["arrays"]

MAX_UNIQUE = 8
"""Different values that items can be held to be: every subset of them is a state."""


def arrays(converter: Converter, schema: Mapping[str, Any], where: str) -> Expression:
    """The arrays that a schema allows. Raises `GrammarError`."""
    least, most = counts(schema, "minItems", "maxItems", where)
    prefix = schema.get("prefixItems", [])
    if not isinstance(prefix, list):
        raise GrammarError(f"{where}.prefixItems must be a list")
    items = schema.get("items", True)
    if items is False:
        most = len(prefix) if most is None else min(most, len(prefix))
    if most is not None and most < least:
        raise GrammarError(f"{where}: no array has at least {least} and at most {most} items")
    if schema.get("uniqueItems", False) is not False and (most is None or most > 1):
        rest = _unique(converter, schema, least, most, where)
    else:
        rest = _items(converter, prefix[:most], items, least, most, where)
    return sequence(text("["), SPACE, rest, SPACE, text("]"))


def _items(
    converter: Converter, prefix: list[Any], items: Any, least: int, most: int | None, where: str
) -> Expression:
    rest: Expression = EMPTY
    if most is None or most > len(prefix):
        item = converter.rule("item", converter.value(items, f"{where}.items"))
        fewest = max(0, least - len(prefix))
        room = None if most is None else most - len(prefix)
        rest = (
            Repeat(sequence(COMMA, item), fewest, room) if prefix else _separated(item, least, most)
        )
    for index in range(len(prefix) - 1, -1, -1):
        place = f"{where}.prefixItems[{index}]"
        item = converter.rule("item", converter.value(prefix[index], place))
        following = converter.rule("items", rest)
        rest = sequence(item, following)
        if index:
            rest = sequence(COMMA, rest)
        if index >= least:
            rest = Repeat(rest, 0, 1)
    return rest


def _separated(item: Expression, least: int, most: int | None) -> Expression:
    """Items with commas between them."""
    if most == 0:
        return EMPTY
    more = Repeat(sequence(COMMA, item), max(0, least - 1), None if most is None else most - 1)
    some = sequence(item, more)
    return Repeat(some, 0, 1) if least == 0 else some


def _unique(
    converter: Converter, schema: Mapping[str, Any], least: int, most: int | None, where: str
) -> Expression:
    """Items out of a few values, none of them twice."""
    items = schema.get("items", True)
    merged = merge(converter.document, items, where) if isinstance(items, Mapping) else {}
    of_values = merged.keys() <= {"enum", "const", "type"} and "prefixItems" not in schema
    values: list[Any] = []
    for value in literals(merged) if of_values else []:
        if len(values) <= MAX_UNIQUE and not any(same(value, other) for other in values):
            values.append(value)
    if not 0 < len(values) <= MAX_UNIQUE:
        raise GrammarError(
            f"{where}.uniqueItems is supported for items of an enum of at most {MAX_UNIQUE} "
            "values: to compare others a grammar would have to remember them"
        )
    if least > len(values):
        raise GrammarError(f"{where}: minItems is {least}, and there are {len(values)} values")
    name = converter.name("unique")
    for used in range(1 << len(values)):  # a bit for each value
        count = used.bit_count()
        options: list[Expression] = [EMPTY] if count >= least else []
        for index, value in enumerate(values if most is None or count < most else []):
            if not used >> index & 1:
                following = Reference(f"{name}-{used | 1 << index}")
                one = sequence(literal(value, where), following)
                options.append(sequence(COMMA, one) if count else one)
        converter.rules[f"{name}-{used}"] = choice(*options)
    return Reference(f"{name}-0")
