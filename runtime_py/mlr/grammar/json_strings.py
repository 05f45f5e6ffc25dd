"""Strings of JSON Schema: `minLength`, `maxLength`, `pattern` and `format`, alone or together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.errors import GrammarError
from mlr.grammar.expressions import (
    ANY_CHARACTER,
    Characters,
    Choice,
    Expression,
    Reference,
    Repeat,
    Sequence,
    choice,
    sequence,
    text,
)
from mlr.grammar.json_formats import FORMATS, SHORT, SHORT_FORMATS
from mlr.grammar.json_patterns import Pattern, parse_pattern
from mlr.grammar.json_text import STRING_CHARACTER, encoded_characters
from mlr.grammar.json_types import KEYWORDS, counts
from mlr.grammar.languages import Language, Naming, Rules, language, lengths

__all__ = ["pattern_language", "string_language", "strings"]


def strings(schema: Mapping[str, Any], where: str, name: Naming) -> tuple[Rules, Expression]:
    """Rules, and the strings that a schema allows in terms of them and of `VALUE_RULES`.

    Raises `GrammarError`.
    """
    least, most = counts(schema, "minLength", "maxLength", where)
    pattern, form = _pattern(schema, where), _format(schema, where)
    rules: Rules = {}
    inner: Expression
    if pattern is None and form is None:
        inner = Repeat(Reference("character"), least, most)
    elif form is not None and pattern is None and _within(FORMATS[form], least, most):
        inner = Reference(f"format-{form}")
    elif (
        pattern is not None
        and form is None
        and not pattern.wanted
        and not pattern.unwanted
        and _within(pattern.strings, least, most)
    ):
        inner = _spelled(pattern.strings)
    else:
        rules, inner = string_language(schema, where).rules(name("string"))
    return rules, sequence(text('"'), inner, text('"'))


def string_language(schema: Mapping[str, Any], where: str) -> Language:
    """The strings that a schema allows, as an automaton.

    Raises `GrammarError` for none at all, and where it takes too many states.
    """
    unknown = schema.keys() - KEYWORDS["string"] - {"type", "enum", "const"}
    if unknown or schema.get("type", "string") != "string":
        raise GrammarError(f"{where}: only keywords of strings are supported")
    words = _words(schema)
    least, most = counts(schema, "minLength", "maxLength", where)
    pattern, form = _pattern(schema, where), _format(schema, where)
    try:
        whole = language(Repeat(ANY_CHARACTER, 0, None))
        if form is not None:
            if _within(FORMATS[form], least, most):
                whole = language(FORMATS[form])
            else:
                whole = language(SHORT_FORMATS[form])
                most = SHORT if most is None else min(most, SHORT)
        if pattern is not None:
            whole = whole.both(_language(pattern))
        if words is not None:
            whole = whole.both(language(choice(*map(text, words))))
        if (least, most) != (0, None):
            whole = whole.of_length(least, most)
    except GrammarError as error:
        raise GrammarError(f"{where}: {error}") from None
    if whole.empty:
        raise GrammarError(f"{where}: no string is all of this")
    return whole


def pattern_language(source: str, where: str) -> Language:
    """The strings that hold a match of a pattern. Raises `GrammarError`."""
    try:
        return _language(parse_pattern(source))
    except GrammarError as error:
        raise GrammarError(f"{where}: {error}") from None


def _language(pattern: Pattern) -> Language:
    whole = language(pattern.strings)
    for wanted in pattern.wanted:
        whole = whole.both(language(wanted))
    for unwanted in pattern.unwanted:
        whole = whole.both(language(unwanted).others())
    return whole


def _words(schema: Mapping[str, Any]) -> list[str] | None:
    """The strings of `enum` or `const`, if there is one of them."""
    if "enum" not in schema and "const" not in schema:
        return None
    values = schema.get("enum", [schema.get("const")])
    constant = schema.get("const")
    return [
        value
        for value in values
        if isinstance(value, str) and ("const" not in schema or value == constant)
    ]


def _pattern(schema: Mapping[str, Any], where: str) -> Pattern | None:
    if "pattern" not in schema:
        return None
    source = schema["pattern"]
    if not isinstance(source, str):
        raise GrammarError(f"{where}.pattern must be a string")
    try:
        return parse_pattern(source)
    except GrammarError as error:
        raise GrammarError(f"{where}.pattern: {error}") from None


def _format(schema: Mapping[str, Any], where: str) -> str | None:
    form = schema.get("format")
    if form is not None and (not isinstance(form, str) or form not in FORMATS):
        raise GrammarError(
            f"{where}.format: {form!r} is not supported; supported: {', '.join(FORMATS)}"
        )
    return form


def _within(expression: Expression, least: int, most: int | None) -> bool:
    """Whether nothing of an expression is shorter or longer than is asked for."""
    shortest, longest = lengths(expression)
    return least <= shortest and (most is None or (longest is not None and longest <= most))


def _spelled(expression: Expression) -> Expression:
    """Strings in their spelling in JSON, in which a few characters are escapes."""
    match expression:
        case Characters(ranges):
            return STRING_CHARACTER if expression == ANY_CHARACTER else encoded_characters(ranges)
        case Sequence(parts):
            return sequence(*map(_spelled, parts))
        case Choice(options):
            return choice(*map(_spelled, options))
        case Repeat(body, least, most):
            return Repeat(_spelled(body), least, most)
    return expression
