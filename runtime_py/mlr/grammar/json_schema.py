"""JSON Schema to a grammar: every text of the grammar is a valid instance.

The grammar may be narrower than the schema where a model is better off: members come in the
order of `properties`, those that a schema does not name are left out unless
`additionalProperties` asks for them, and numbers have a sensible number of digits. What cannot be
held to is refused by its name and never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.errors import GrammarError
from mlr.grammar.expressions import (
    Expression,
    Grammar,
    Reference,
    choice,
)
from mlr.grammar.json_arrays import arrays
from mlr.grammar.json_formats import FORMAT_RULES
from mlr.grammar.json_merge import ANNOTATIONS, merge, resolve
from mlr.grammar.json_numbers import integer_values, number_values
from mlr.grammar.json_objects import objects
from mlr.grammar.json_strings import strings
from mlr.grammar.json_text import (
    VALUE_RULES,
    literal,
)
from mlr.grammar.json_types import (
    COMBINING,
    KEYWORDS,
    OF_SOME_TYPE,
    apart,
    check_shape,
    literals,
    types_of,
)

__all__ = ["json_object_grammar", "schema_grammar", "schema_rules"]

MAX_SIZE = 128 << 10  # characters of the schema as JSON
MAX_NESTING = 48
MAX_RULES = 20_000
MAX_DEPTH = 64  # schemas within each other; allOf can nest them without end


def json_object_grammar() -> Grammar:
    """Any JSON object."""
    return Grammar({"root": Reference("object"), **VALUE_RULES})


def schema_grammar(schema: Any) -> Grammar:
    """The grammar of the instances of `schema`, as JSON.

    Raises `GrammarError`, naming the place and the keyword, for what is not supported.
    """
    rules, root = schema_rules(schema)
    return Grammar(rules | {"root": root})


def schema_rules(
    schema: Any, prefix: str = "", where: str = "schema"
) -> tuple[dict[str, Expression], Expression]:
    """Rules, and the instances of `schema` in terms of them.

    The rules' names begin with `prefix`, but for those that all schemas share. Raises
    `GrammarError`.
    """
    _check_size(schema)
    converter = _Converter(schema, prefix)
    root = converter.value(schema, where)
    converter.finish()
    return converter.rules, root


def _check_size(schema: Any) -> None:
    size, pending = 0, [(schema, 0)]
    while pending:
        value, depth = pending.pop()
        size += 1
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, Mapping):
            if not all(isinstance(name, str) for name in value):
                raise GrammarError("the schema is not JSON: a name is not a string")
            size += sum(map(len, value))
            pending += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, (list, tuple)):
            pending += [(item, depth + 1) for item in value]
        if size > MAX_SIZE:
            raise GrammarError(f"the schema is too large: over {MAX_SIZE} characters")
        if depth > MAX_NESTING:
            raise GrammarError(f"the schema is nested over {MAX_NESTING} deep")


class _Converter:
    def __init__(self, document: Any, prefix: str) -> None:
        self._prefix = prefix
        self.rules: dict[str, Expression] = {**VALUE_RULES, **FORMAT_RULES}
        self.document = document
        self._by_pointer: dict[str, str] = {}  # rules of `$ref`s
        self._pending: list[tuple[str, str, Any]] = []  # of these: rule, pointer, schema
        self._count = 0
        self._depth = 0

    def name(self, kind: str) -> str:
        """A name for a new rule. Raises `GrammarError` when there are too many."""
        if len(self.rules) > MAX_RULES:
            raise GrammarError(f"the grammar of the schema is too large: over {MAX_RULES} rules")
        self._count += 1
        return f"{self._prefix}{kind}-{self._count}"

    def rule(self, kind: str, expression: Expression) -> Reference:
        """A new rule."""
        name = self.name(kind)
        self.rules[name] = expression
        return Reference(name)

    def finish(self) -> None:
        """Make the rules of all `$ref`s met, one by one: a chain of them may be long."""
        while self._pending:
            rule, pointer, schema = self._pending.pop()
            self.rules[rule] = self.value(schema, pointer)

    def value(self, schema: Any, where: str) -> Expression:
        """The values that `schema` allows. `finish` makes the rules of its `$ref`s."""
        if self._depth == MAX_DEPTH:
            raise GrammarError(f"{where:.200}: the schema is nested over {MAX_DEPTH} deep")
        self._depth += 1
        try:
            return self._value(schema, where)
        finally:
            self._depth -= 1

    def _value(self, schema: Any, where: str) -> Expression:
        if schema is True:
            return Reference("value")
        if schema is False:
            raise GrammarError(f"{where}: no value is valid under false")
        check_shape(schema, where)
        asserted = {name: item for name, item in schema.items() if name not in ANNOTATIONS}
        if not asserted:
            return Reference("value")
        if list(asserted) == ["$ref"]:
            return self._reference(asserted["$ref"], where)
        if "$ref" in asserted or "allOf" in asserted:
            return self.value(merge(self.document, asserted, where), where)
        for keyword in COMBINING:
            if keyword in asserted:
                return self._any_of(asserted, keyword, where)
        if "enum" in asserted or "const" in asserted:
            return self._literals(asserted, where)
        return self._typed(asserted, where)

    def _reference(self, pointer: Any, where: str) -> Expression:
        target = resolve(self.document, pointer, where)
        if pointer not in self._by_pointer:
            name = self._by_pointer[pointer] = self.name("ref")
            self._pending.append((name, str(pointer), target))
        return Reference(self._by_pointer[pointer])

    def _any_of(self, schema: Mapping[str, Any], keyword: str, where: str) -> Expression:
        branches = schema[keyword]
        common = {name: item for name, item in schema.items() if name != keyword}
        if common:
            branches = [
                merge(self.document, {"allOf": [common, branch]}, f"{where}.{keyword}[{index}]")
                for index, branch in enumerate(branches)
            ]
        if keyword == "oneOf":
            self._check_apart(branches, where)
        return choice(
            *(
                self.value(branch, f"{where}.{keyword}[{index}]")
                for index, branch in enumerate(branches)
            )
        )

    def _check_apart(self, branches: list[Any], where: str) -> None:
        """`oneOf` is held to where no value can be valid under two branches."""
        plain = [
            merge(self.document, branch, where) if isinstance(branch, Mapping) else branch
            for branch in branches
        ]
        for index, one in enumerate(plain):
            for number in range(index):
                if not apart(one, plain[number]):
                    raise GrammarError(
                        f"{where}.oneOf: branches {number} and {index} may both be valid for one "
                        "value: give them different types or a required property with different "
                        "constants, or use anyOf"
                    )

    def _literals(self, schema: Mapping[str, Any], where: str) -> Expression:
        """`enum` and `const`."""
        others = schema.keys() - {"enum", "const", "type"}
        if others:
            raise GrammarError(f"{where}: {min(others)!r} beside enum or const is not supported")
        values = literals(schema)
        if not values:
            raise GrammarError(f"{where}: no value of its enum or const is valid")
        return choice(*(literal(value, where) for value in values))

    def _typed(self, schema: Mapping[str, Any], where: str) -> Expression:
        unknown = schema.keys() - OF_SOME_TYPE - {"type"}
        if unknown:
            raise GrammarError(f"{where}: the keyword {min(unknown)!r} is not supported")
        options: list[Expression] = []
        for name in types_of(schema):
            if not schema.keys() & KEYWORDS[name]:
                options.append(Reference(name))
            elif name in _OF_PARTS:
                options.append(_OF_PARTS[name](self, schema, where))
            else:
                rules, found = _PLAIN[name](schema, where, self.name)
                self.rules |= rules
                options.append(found)
        return choice(*options)


_OF_PARTS = {"object": objects, "array": arrays}
_PLAIN = {"string": strings, "number": number_values, "integer": integer_values}
