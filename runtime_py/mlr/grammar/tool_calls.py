"""Calls of functions as a model writes them, for example `{"name": "…", "arguments": {…}}`.

Many models put something before their calls, and may say something before that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from mlr.grammar.json_text import COLON, COMMA, spelled
from mlr.grammar.tool_forms import FORMS, CallForm

__all__ = ["tool_call_grammar"]

MAX_FUNCTIONS = 128

NO_PARAMETERS = {"type": "object", "additionalProperties": False}
_LINE = Repeat(text("\n"), 0, 1)
_SPACE = Repeat(text(" "), 0, 1)
_BRACE = ord("{")
_CALL = Reference("call")
_ALPHANUMERIC = Characters(((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)))

Tag = Callable[[str], Expression]
"""How a tag is written: as text, or as the token that it is."""


def tool_call_grammar(
    functions: Any, *, required: bool, form: Any = "plain", several: bool = True, tag: Tag = text
) -> Grammar:
    """Calls of `functions`, each `{"name": …, "parameters": <JSON schema>}`.

    `form` is one of `FORMS`. Unless `several` are allowed, there is one call and nothing after
    it. Unless calls are `required`, the text may be any other, and the model decides: with a tag
    whenever it writes that, without one by its first character, which is a brace or not. Raises
    `GrammarError`.
    """
    if not isinstance(form, str) or form not in FORMS:
        raise GrammarError(f"form must be one of {', '.join(FORMS)}")
    if not isinstance(functions, list) or not 0 < len(functions) <= MAX_FUNCTIONS:
        raise GrammarError(f"functions must be a list of 1 to {MAX_FUNCTIONS}")
    rules: dict[str, Expression] = {}
    options: list[Expression] = []
    style = FORMS[form]
    for number, function in enumerate(functions):
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str):
            raise GrammarError(f"function {number} has no name")
        parameters = function.get("parameters") or NO_PARAMETERS
        own, arguments = schema_rules(parameters, f"{number}-", f"{name}.parameters")
        rules |= own
        options.append(_call(style, name, arguments, tag))
    rules["call"] = choice(*options)
    if style.bare:
        before = Repeat(tag(style.before), 0, 1) if style.before else EMPTY
        other = sequence(
            Characters(complement(((_BRACE, _BRACE),))), Repeat(ANY_CHARACTER, 0, None)
        )
        optional = () if required else (EMPTY, other)
        return Grammar(rules | {"root": choice(sequence(before, _CALL), *optional)})
    calls = _calls(style, several, tag)
    if required:
        return Grammar(rules | {"root": sequence(tag(style.before), calls)})
    return Grammar(rules | _text_until(style.before, tag(style.before), calls))


def _call(style: CallForm, name: str, arguments: Expression, tag: Tag) -> Expression:
    """One call, without what stands before and after calls."""
    if style.layout == "named":
        # Some of Mistral's models put these between the name and the arguments.
        number = sequence(tag("[CALL_ID]"), Repeat(_ALPHANUMERIC, 9, 9))
        marks = sequence(Repeat(number, 0, 1), Repeat(tag("[ARGS]"), 0, 1))
        return sequence(_SPACE, text(name), marks, _SPACE, arguments)
    begin = sequence(text('{"name"'), COLON, text(spelled(name)), text(","), _SPACE)
    return sequence(begin, text(spelled(style.key)), COLON, arguments, text("}"))


def _calls(style: CallForm, several: bool, tag: Tag) -> Expression:
    """What follows the first `before`."""
    most = None if several else 0
    if style.layout == "list":
        more = Repeat(sequence(COMMA, _CALL), 0, most)
        after = tag(style.after) if style.after else EMPTY
        return sequence(_SPACE, text("["), _CALL, more, text("]"), after)
    if style.layout == "named":
        return sequence(_CALL, Repeat(sequence(tag(style.before), _CALL), 0, most))
    inside = sequence(_LINE, _CALL, _LINE, tag(style.after))
    return sequence(inside, Repeat(sequence(_LINE, tag(style.before), inside), 0, most))


def _text_until(tag: str, token: Expression, following: Expression) -> dict[str, Expression]:
    """The rules, from `root` on, of any text; after `tag`, if it comes, there is `following`.

    A rule stands for how much of the tag has come as text. Since its first character is not in the
    rest, that character is the only way back into it. The tag may also come as a `token`.
    """
    names = ["root", *(f"text-{count}" for count in range(1, len(tag)))]
    begin = ord(tag[0])
    rules: dict[str, Expression] = {"calls": following}
    calls = Reference("calls")
    for count, name in enumerate(names):
        wanted = ord(tag[count])
        complete = count + 1 == len(tag)
        others = Characters(complement(normal_ranges([(begin, begin), (wanted, wanted)])))
        options = [EMPTY, sequence(others, Reference("root"))]
        if token != text(tag):
            options.append(sequence(token, calls))
        if count:
            options.append(sequence(text(tag[0]), Reference(names[1])))
        after = calls if complete else Reference(names[count + 1])
        rules[name] = choice(*options, sequence(text(tag[count]), after))
    return rules
