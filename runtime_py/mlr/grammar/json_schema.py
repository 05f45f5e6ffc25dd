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
    EMPTY,
    Expression,
    Grammar,
    Reference,
    Repeat,
    choice,
    sequence,
    text,
)
from mlr.grammar.json_formats import FORMAT_RULES
from mlr.grammar.json_merge import ANNOTATIONS, merge, resolve
from mlr.grammar.json_numbers import integer_values, number_values
from mlr.grammar.json_strings import strings
from mlr.grammar.json_text import (
    COLON,
    COMMA,
    SPACE,
    VALUE_RULES,
    key,
    spelled,
    without,
)
from mlr.grammar.json_types import (
    COMBINING,
    KEYWORDS,
    OF_SOME_TYPE,
    apart,
    check_shape,
    counts,
    is_a,
    same,
    types_of,
)

__all__ = ["json_object_grammar", "schema_grammar", "schema_rules"]

MAX_SIZE = 128 << 10  # characters of the schema as JSON
MAX_NESTING = 48
MAX_PROPERTIES = 512
MAX_RULES = 20_000


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
        self._document = document
        self._by_pointer: dict[str, str] = {}  # rules of `$ref`s
        self._count = 0

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{self._prefix}{kind}-{self._count}"

    def value(self, schema: Any, where: str) -> Expression:
        """The values that `schema` allows."""
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
            return self.value(merge(self._document, asserted, where), where)
        for keyword in COMBINING:
            if keyword in asserted:
                return self._any_of(asserted, keyword, where)
        if "enum" in asserted or "const" in asserted:
            return self._literals(asserted, where)
        return self._typed(asserted, where)

    def _reference(self, pointer: Any, where: str) -> Expression:
        target = resolve(self._document, pointer, where)
        if pointer not in self._by_pointer:
            name = self._by_pointer[pointer] = self._name("ref")
            self.rules[name] = self.value(target, str(pointer))
        return Reference(self._by_pointer[pointer])

    def _any_of(self, schema: Mapping[str, Any], keyword: str, where: str) -> Expression:
        branches = schema[keyword]
        common = {name: item for name, item in schema.items() if name != keyword}
        if common:
            branches = [
                merge(self._document, {"allOf": [common, branch]}, f"{where}.{keyword}[{index}]")
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
            merge(self._document, branch, where) if isinstance(branch, Mapping) else branch
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
        values = schema.get("enum", [schema.get("const")])
        if "enum" in schema and "const" in schema:
            values = [value for value in values if same(value, schema["const"])]
        types = types_of(schema)
        values = [value for value in values if any(is_a(value, name) for name in types)]
        if not values:
            raise GrammarError(f"{where}: no value of its enum or const is valid")
        try:
            return choice(*(text(spelled(value)) for value in values))
        except ValueError as error:
            raise GrammarError(f"{where}: a value of enum or const is not JSON: {error}") from None

    def _typed(self, schema: Mapping[str, Any], where: str) -> Expression:
        unknown = schema.keys() - OF_SOME_TYPE - {"type", "uniqueItems"}
        if schema.get("uniqueItems") not in (None, False):
            unknown |= {"uniqueItems"}
        if unknown:
            raise GrammarError(f"{where}: the keyword {min(unknown)!r} is not supported")
        makers = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": number_values,
            "integer": integer_values,
        }
        options: list[Expression] = []
        for name in types_of(schema):
            if name in makers and schema.keys() & KEYWORDS[name]:
                options.append(makers[name](schema, where))
            else:
                options.append(Reference(name))
        return choice(*options)

    def _string(self, schema: Mapping[str, Any], where: str) -> Expression:
        rules, inner = strings(schema, where, self._name)
        self.rules |= rules
        if len(self.rules) > MAX_RULES:
            raise GrammarError(f"the grammar of the schema is too large: over {MAX_RULES} rules")
        return inner

    def _object(self, schema: Mapping[str, Any], where: str) -> Expression:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        # Members that nothing is said about are left out, unless there are no others.
        more = schema.get("additionalProperties", not properties and not required)
        names = [*properties, *(name for name in dict.fromkeys(required) if name not in properties)]
        if len(names) > MAX_PROPERTIES:
            raise GrammarError(f"{where} has over {MAX_PROPERTIES} properties")
        extra = None if more is False else self._extra_member(more, names, where)
        members: list[tuple[Reference, bool]] = []
        for name in names:
            place = f"{where}.properties.{name}"
            if name in properties:
                if properties[name] is False and name not in required:
                    continue
                inner = self.value(properties[name], place)
            else:
                inner = self.value(schema.get("additionalProperties", True), place)
            member = self._name("member")
            self.rules[member] = sequence(self._key(name, place), inner)
            members.append((Reference(member), name in required))
        return sequence(text("{"), SPACE, self._members(members, extra), SPACE, text("}"))

    def _key(self, name: str, where: str) -> Expression:
        try:
            return key(name)
        except UnicodeEncodeError:
            raise GrammarError(f"{where}: the name has half of a surrogate pair") from None

    def _extra_member(self, schema: Any, names: list[str], where: str) -> Expression:
        """A member that the schema does not name."""
        rule = self._name("key")
        if names:
            self.rules |= without(names, rule)
        else:
            self.rules[rule] = Reference("string")
        value = self.value(schema, f"{where}.additionalProperties")
        return sequence(Reference(rule), COLON, value)

    def _members(
        self, members: list[tuple[Reference, bool]], extra: Expression | None
    ) -> Expression:
        """The members in their order, those not required each there or not, then the others."""
        # What may follow from a member on: where one has come before, and where none has.
        later: Expression = EMPTY
        first: Expression = EMPTY
        if extra is not None:
            later = Repeat(sequence(COMMA, extra), 0, None)
            first = Repeat(sequence(extra, later), 0, 1)
        for member, required in reversed(members):
            following = self._rule("members", later)
            begun = sequence(member, following)
            first = begun if required else choice(begun, self._rule("members", first))
            later = sequence(COMMA, member, following)
            if not required:
                later = choice(later, following)
        return first

    def _rule(self, kind: str, expression: Expression) -> Reference:
        name = self._name(kind)
        self.rules[name] = expression
        return Reference(name)

    def _array(self, schema: Mapping[str, Any], where: str) -> Expression:
        least, most = counts(schema, "minItems", "maxItems", where)
        prefix = schema.get("prefixItems", [])
        if not isinstance(prefix, list):
            raise GrammarError(f"{where}.prefixItems must be a list")
        items = schema.get("items", True)
        if items is False:
            most = len(prefix) if most is None else min(most, len(prefix))
        if most is not None and most < least:
            raise GrammarError(f"{where}: no array has at least {least} and at most {most} items")
        prefix = prefix[:most]
        rest: Expression = EMPTY
        if most is None or most > len(prefix):
            item = self._rule("item", self.value(items, f"{where}.items"))
            rest = _separated(
                item, max(0, least - len(prefix)), None if most is None else most - len(prefix)
            )
            if prefix:
                rest = Repeat(
                    sequence(COMMA, item),
                    max(0, least - len(prefix)),
                    None if most is None else most - len(prefix),
                )
        for index in range(len(prefix) - 1, -1, -1):
            item = self._rule("item", self.value(prefix[index], f"{where}.prefixItems[{index}]"))
            following = self._rule("items", rest)
            rest = sequence(item, following)
            if index:
                rest = sequence(COMMA, rest)
            if index >= least:
                rest = Repeat(rest, 0, 1)
        return sequence(text("["), SPACE, rest, SPACE, text("]"))


def _separated(item: Expression, least: int, most: int | None) -> Expression:
    """Items with commas between them."""
    if most == 0:
        return EMPTY
    more = Repeat(sequence(COMMA, item), max(0, least - 1), None if most is None else most - 1)
    some = sequence(item, more)
    return Repeat(some, 0, 1) if least == 0 else some
