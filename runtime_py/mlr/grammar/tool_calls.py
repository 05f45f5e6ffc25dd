"""Calls of functions as a model writes them: `{"name":"…","arguments":{…}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.errors import GrammarError
from mlr.grammar.expressions import (
    ANY_CHARACTER,
    EMPTY,
    Characters,
    Expression,
    Grammar,
    Repeat,
    choice,
    complement,
    sequence,
    text,
)
from mlr.grammar.json_schema import schema_rules
from mlr.grammar.json_text import spelled

__all__ = ["tool_call_grammar"]

MAX_FUNCTIONS = 128

NO_PARAMETERS = {"type": "object", "additionalProperties": False}
_TEXT = choice(
    EMPTY, sequence(Characters(complement(((0x7B, 0x7B),))), Repeat(ANY_CHARACTER, 0, None))
)


def tool_call_grammar(functions: Any, *, required: bool) -> Grammar:
    """A call of one of `functions`, each `{"name": …, "parameters": <JSON schema>}`.

    Unless it is `required`, the text may be any other that does not begin with a brace: the
    model's first token decides. Raises `GrammarError`.
    """
    if not isinstance(functions, list) or not 0 < len(functions) <= MAX_FUNCTIONS:
        raise GrammarError(f"functions must be a list of 1 to {MAX_FUNCTIONS}")
    rules: dict[str, Expression] = {}
    options: list[Expression] = []
    for number, function in enumerate(functions):
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str):
            raise GrammarError(f"function {number} has no name")
        parameters = function.get("parameters") or NO_PARAMETERS
        own, arguments = schema_rules(parameters, f"{number}-", f"{name}.parameters")
        rules |= own
        begin = f'{{"name":{spelled(name)},"arguments":'
        options.append(sequence(text(begin), arguments, text("}")))
    if not required:
        options.append(_TEXT)
    return Grammar(rules | {"root": choice(*options)})
