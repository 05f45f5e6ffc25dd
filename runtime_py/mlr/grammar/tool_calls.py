"""Calls of functions as a model writes them: `{"name": "…", "arguments": {…}}`.

Many models put each call between tags, and may say something before the first one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlr.errors import GrammarError
from mlr.grammar.expressions import (
    ANY_CHARACTER,
    EMPTY,
    Characters,
    Expression,
    Grammar,
    Reference,
    Repeat,
    choice,
    complement,
    normal_ranges,
    sequence,
    text,
)
from mlr.grammar.json_schema import schema_rules
from mlr.grammar.json_text import COLON, spelled

__all__ = ["tool_call_grammar"]

MAX_FUNCTIONS = 128
MAX_TAG = 64  # characters

NO_PARAMETERS = {"type": "object", "additionalProperties": False}
_LINE = Repeat(text("\n"), 0, 1)
_BRACE = ord("{")


def tool_call_grammar(
    functions: Any, *, required: bool, tags: Any = None, several: bool = True
) -> Grammar:
    """Calls of `functions`, each `{"name": …, "parameters": <JSON schema>}`.

    `tags` is what a call stands between; without them, or unless `several` are allowed, there is
    one call and nothing after it. Unless calls are `required`, the text may be any other, and the
    model decides: with tags whenever it writes the first one, without them by its first
    character, which is a brace or not. Raises `GrammarError`.
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
        begin = sequence(text('{"name"'), COLON, text(spelled(name)), text(","))
        begin = sequence(begin, Repeat(text(" "), 0, 1), text('"arguments"'), COLON)
        options.append(sequence(begin, arguments, text("}")))
    rules["call"] = choice(*options)
    if tags is None:
        other = sequence(
            Characters(complement(((_BRACE, _BRACE),))), Repeat(ANY_CHARACTER, 0, None)
        )
        optional = () if required else (EMPTY, other)
        return Grammar(rules | {"root": choice(Reference("call"), *optional)})
    first, last = _checked(tags)
    inside = sequence(_LINE, Reference("call"), _LINE, text(last))
    more = Repeat(sequence(_LINE, text(first), inside), 0, None)
    calls = sequence(inside, more) if several else inside
    if required:
        return Grammar(rules | {"root": sequence(text(first), calls)})
    return Grammar(rules | _text_until(first, calls))


def _checked(tags: Any) -> Sequence[str]:
    if not isinstance(tags, list) or len(tags) != 2:
        raise GrammarError("tags must be a list of two texts")
    for tag in tags:
        if not isinstance(tag, str) or not 0 < len(tag) <= MAX_TAG or tag[0] in tag[1:]:
            raise GrammarError(
                f"a tag must have 1 to {MAX_TAG} characters, of which the first does not come again"
            )
    return tags


def _text_until(tag: str, following: Expression) -> dict[str, Expression]:
    """The rules, from `root` on, of any text; after `tag`, if it comes, there is `following`.

    A rule stands for how much of the tag has come. Since its first character is not in the rest,
    that character is the only way back into it.
    """
    names = ["root", *(f"text-{count}" for count in range(1, len(tag)))]
    begin = ord(tag[0])
    rules: dict[str, Expression] = {}
    for count, name in enumerate(names):
        wanted = ord(tag[count])
        complete = count + 1 == len(tag)
        others = Characters(complement(normal_ranges([(begin, begin), (wanted, wanted)])))
        options = [EMPTY, sequence(others, Reference("root"))]
        if count:
            options.append(sequence(text(tag[0]), Reference(names[1])))
        after = following if complete else Reference(names[count + 1])
        rules[name] = choice(*options, sequence(text(tag[count]), after))
    return rules
