"""Objects of JSON Schema: which members there are, under which names, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.errors import GrammarError
from mlr.grammar.expressions import (
    ANY_CHARACTER,
    EMPTY,
    Expression,
    Reference,
    Repeat,
    choice,
    sequence,
    text,
)
from mlr.grammar.json_converter import Converter
from mlr.grammar.json_merge import merge
from mlr.grammar.json_strings import pattern_language, string_language
from mlr.grammar.json_text import COLON, COMMA, SPACE, key, without
from mlr.grammar.json_types import counts
from mlr.grammar.languages import Language, language

__all__ = ["objects"]

MAX_PROPERTIES = 512
MAX_PATTERNS = 4


def objects(converter: Converter, schema: Mapping[str, Any], where: str) -> Expression:
    """The objects that a schema allows. Raises `GrammarError`."""
    made = _Objects(converter, schema, where).members()
    return sequence(text("{"), SPACE, made, SPACE, text("}"))


class _Objects:
    def __init__(self, converter: Converter, schema: Mapping[str, Any], where: str) -> None:
        self._converter, self._schema, self._where = converter, schema, where
        properties = schema.get("properties", {})
        self._required = dict.fromkeys(schema.get("required", []))
        self._names = [*properties, *(name for name in self._required if name not in properties)]
        if len(self._names) > MAX_PROPERTIES:
            raise GrammarError(f"{where} has over {MAX_PROPERTIES} properties")
        self._patterns = self._read_patterns()
        self._allowed = self._read_names()

    def members(self) -> Expression:
        """The named members in their order, those not required each there or not, then others."""
        least, most = counts(self._schema, "minProperties", "maxProperties", self._where)
        named = self._named()
        extra = self._extra()
        # From each member on, what may follow after so many. Where numbers do not matter, it is
        # only whether there has been one.
        enough = max(least, 1) if most is None else most
        row = [_others(extra, count, least, most) for count in range(min(len(named), enough) + 1)]
        for index in range(len(named) - 1, -1, -1):
            member, required = named[index]
            rules = [None if one is None else self._converter.rule("members", one) for one in row]
            row = []
            for count in range(min(index, enough) + 1):
                after = count + 1 if most is not None else min(count + 1, enough)
                options: list[Expression] = []
                if after < len(rules) and (following := rules[after]) is not None:
                    comma = COMMA if count else EMPTY
                    options.append(sequence(comma, member, following))
                if not required and (following := rules[count]) is not None:
                    options.append(following)
                row.append(choice(*options) if options else None)
        if row[0] is None:
            raise GrammarError(
                f"{self._where}: no object has this many members; of those without a name of "
                "their own only one counts for minProperties, since names may come twice"
            )
        return row[0]

    def _named(self) -> list[tuple[Reference, bool]]:
        properties = self._schema.get("properties", {})
        members: list[tuple[Reference, bool]] = []
        for name in self._names:
            place = f"{self._where}.properties.{name}"
            spelled = self._key(name, place)
            schemas = [properties[name]] if name in properties else []
            schemas += [schema for pattern, schema in self._patterns if pattern.holds(name)]
            if not schemas:
                schemas = [self._schema.get("additionalProperties", True)]
            fits = self._allowed is None or self._allowed.holds(name)
            if name not in self._required and (not fits or False in schemas):
                continue
            if not fits:
                raise GrammarError(f"{place}: is required, and propertyNames forbids it")
            inner = self._converter.value(_all(schemas), place)
            member = self._converter.rule("member", sequence(spelled, inner))
            members.append((member, name in self._required))
        return members

    def _key(self, name: str, where: str) -> Expression:
        try:
            return key(name)
        except UnicodeEncodeError:
            raise GrammarError(f"{where}: the name has half of a surrogate pair") from None

    def _extra(self) -> Expression | None:
        """A member that the schema does not name; None where there may be none."""
        # Members that nothing is said about are left out, unless there are no others.
        silent = not self._names and not self._patterns
        more = self._schema.get("additionalProperties", silent)
        place = f"{self._where}.additionalProperties"
        if not self._patterns and self._allowed is None:
            return None if more is False else self._member(self._any_key(), more, place)
        options = []
        for keys, schemas in self._kinds():
            schema = _all(schemas) if schemas else more
            if not keys.empty and schema is not False and False not in schemas:
                rules, inner = keys.rules(self._converter.name("key"))
                self._converter.rules |= rules
                spelled = sequence(text('"'), inner, text('"'))
                where = f"{self._where}.patternProperties" if schemas else place
                options.append(self._member(spelled, schema, where))
        return choice(*options) if options else None

    def _member(self, spelled: Expression, schema: Any, where: str) -> Expression:
        return sequence(spelled, COLON, self._converter.value(schema, where))

    def _any_key(self) -> Expression:
        if not self._names:
            return Reference("string")
        rule = self._converter.name("key")
        self._converter.rules |= without(self._names, rule)
        return Reference(rule)

    def _kinds(self) -> list[tuple[Language, list[Any]]]:
        """The other names by the patterns that they match: each kind with those's schemas."""
        others = self._allowed or language(Repeat(ANY_CHARACTER, 0, None))
        if self._names:
            others = others.both(language(choice(*map(text, self._names))).others())
        kinds: list[tuple[Language, list[Any]]] = [(others, [])]
        for pattern, schema in self._patterns:
            kinds = [
                kind
                for keys, schemas in kinds
                for kind in (
                    (keys.both(pattern), [*schemas, schema]),
                    (keys.both(pattern.others()), schemas),
                )
            ]
        return kinds

    def _read_patterns(self) -> list[tuple[Language, Any]]:
        patterns = self._schema.get("patternProperties", {})
        place = f"{self._where}.patternProperties"
        if not isinstance(patterns, Mapping) or len(patterns) > MAX_PATTERNS:
            raise GrammarError(f"{place} must be an object of at most {MAX_PATTERNS} patterns")
        return [(pattern_language(source, place), schema) for source, schema in patterns.items()]

    def _read_names(self) -> Language | None:
        """The names that `propertyNames` allows; None for all."""
        schema = self._schema.get("propertyNames", True)
        place = f"{self._where}.propertyNames"
        if schema is True:
            return None
        if not isinstance(schema, Mapping):
            raise GrammarError(f"{place} must be a schema of strings")
        return string_language(merge(self._converter.document, schema, place), place)


def _others(
    extra: Expression | None, count: int, least: int, most: int | None
) -> Expression | None:
    """What may follow the named members, of which `count` are there; None where nothing may."""
    missing = max(0, least - count)
    if missing == 0 and (extra is None or count == most):
        return EMPTY
    # Names may come twice, and a reader would count them once: only one is sure to count.
    if missing > 1 or extra is None or count == most:
        return None
    room = None if most is None else most - count
    if count:
        return Repeat(sequence(COMMA, extra), missing, room)
    more = Repeat(sequence(COMMA, extra), 0, None if room is None else room - 1)
    return Repeat(sequence(extra, more), missing, 1)


def _all(schemas: list[Any]) -> Any:
    return schemas[0] if len(schemas) == 1 else {"allOf": schemas}
