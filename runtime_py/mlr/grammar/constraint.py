"""What a generation's text is held to, token by token.

Most generations are held to nothing: what reads grammars is imported for the first that is.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlr.errors import GenerationError, GrammarError, RequestError
from mlr.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mlr.grammar.expressions import Expression, Grammar
    from mlr.grammar.matcher import Matcher, State
    from mlr.grammar.tokens import TokenMasks

__all__ = ["Constrainer", "Constraint"]

MAX_COMPILED = 8  # grammars that are remembered, with the masks found for them

_FIELDS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"type"}),
    "json_object": frozenset({"type"}),
    "json_schema": frozenset({"type", "json_schema"}),
    "grammar": frozenset({"type", "grammar"}),
    "tool_call": frozenset({"type", "functions", "required", "form", "several"}),
}
_MARK = b"\xff"  # is in no text
_SCHEMA_FIELDS = frozenset({"name", "description", "schema", "strict"})


class Constrainer:
    """Compiles response formats for one model's vocabulary. May be used by several threads."""

    def __init__(self, tokenizer: Tokenizer, vocabulary_size: int) -> None:
        """`vocabulary_size` is the engine's, which may be larger than the tokenizer's."""
        self._tokenizer = tokenizer
        self._size = vocabulary_size
        self._matchers: OrderedDict[str, Matcher] = OrderedDict()
        self._masks: TokenMasks | None = None
        self._lock = threading.Lock()

    def start(self, response_format: Any) -> Constraint | None:
        """A constraint at its beginning; None where the format asks for nothing but text.

        The format is None or one of `{"type": "text"}`, `{"type": "json_object"}`,
        `{"type": "json_schema", "json_schema": {"schema": …}}`,
        `{"type": "grammar", "grammar": "<GBNF>"}` and, for what `tool_call_grammar` describes,
        `{"type": "tool_call", "functions": […], "required": …, "form": …, "several": …}`. Raises
        `GrammarError` for a schema or grammar that is wrong or not supported, `RequestError` for
        another format.
        """
        if response_format is None:
            return None
        _check_fields(response_format)
        if response_format["type"] == "text":
            return None
        try:
            key = json.dumps(response_format)
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError(f"response_format must be JSON: {error}") from None
        from mlr.grammar.matcher import Matcher

        with self._lock:
            matcher = self._matchers.pop(key, None) or Matcher(self._grammar(response_format))
            self._matchers[key] = matcher
            if len(self._matchers) > MAX_COMPILED:
                self._matchers.popitem(last=False)
        return Constraint(self, matcher.start, self._marks(response_format))

    def mask(self, state: State) -> bytes:
        """The mask of the tokens that may follow in a state."""
        with self._lock:
            if self._masks is None:
                from mlr.grammar.tokens import TokenMasks

                ends = self._tokenizer.end_ids
                size = min(self._size, self._tokenizer.vocabulary_size)
                texts = [b"" if token in ends else self._bytes(token) for token in range(size)]
                self._masks = TokenMasks(texts, ends, self._size)
            return self._masks.mask(state)

    def advance(self, state: State, token: int) -> State | None:
        """The state after a token."""
        with self._lock:
            return state.advance(self._bytes(token))

    def _bytes(self, token: int) -> bytes:
        """What a token is to a grammar: its bytes, or a mark where it is no part of a text."""
        own = self._tokenizer.token_bytes(token)
        if token in self._tokenizer.hidden_ids:
            return _mark(token)
        return b"" if _MARK in own else own  # no text has that byte

    def _tag(self, tag: str) -> Expression:
        """How a grammar says a tag: as text, or as the token of its own that it is."""
        from mlr.grammar.expressions import Text

        token = self._tokenizer.token_id(tag)
        hidden = token is not None and token in self._tokenizer.hidden_ids
        return Text(_mark(token) if hidden and token is not None else tag.encode())

    def _marks(self, response_format: Mapping[str, Any]) -> frozenset[int]:
        """The tokens that are tags of calls, which are otherwise left out of a text."""
        if response_format["type"] != "tool_call":
            return frozenset()
        from mlr.grammar.tool_forms import TAGS

        found = (self._tokenizer.token_id(tag) for tag in TAGS)
        return frozenset(token for token in found if token is not None)

    def _grammar(self, response_format: Mapping[str, Any]) -> Grammar:
        from mlr.grammar.tool_calls import tool_call_grammar

        if response_format["type"] != "tool_call":
            return _grammar(response_format)
        return tool_call_grammar(
            response_format.get("functions"),
            required=bool(response_format.get("required")),
            form=response_format.get("form", "plain"),
            several=bool(response_format.get("several")),
            tag=self._tag,
        )


class Constraint:
    """How far one generation has come in its grammar."""

    def __init__(self, constrainer: Constrainer, start: State, marks: frozenset[int]) -> None:
        """`marks` are tokens that belong to the text, although others of their kind do not."""
        self._constrainer = constrainer
        self._state = start
        self.marks = marks

    def copy(self) -> Constraint:
        """Another one at the same place, which goes its own way."""
        return Constraint(self._constrainer, self._state, self.marks)

    @property
    def finished(self) -> bool:
        """Whether the text is complete and nothing can follow."""
        return self._state.finished

    def mask(self) -> bytes:
        """The tokens that may come next, for `Engine.set_mask`.

        Raises `GenerationError` when the vocabulary has none that fits.
        """
        mask = self._constrainer.mask(self._state)
        if not any(mask):
            raise GenerationError(
                "no token of the model's vocabulary can continue the text as its grammar asks"
            )
        return mask

    def advance(self, token: int) -> None:
        """Go on with a token that the mask allowed and that is no end token."""
        after = self._constrainer.advance(self._state, token)
        if after is None:
            raise GenerationError(f"token {token} was generated against its grammar")
        self._state = after


def _mark(token: int) -> bytes:
    """Bytes that stand for a token, and are in no text."""
    return _MARK + token.to_bytes(4, "big")


def _check_fields(response_format: Any) -> None:
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise RequestError(
            f"response_format must be an object with a type out of {', '.join(_FIELDS)}"
        )
    _only(response_format, _FIELDS[kind], "response_format")


def _only(fields: Mapping[str, Any], allowed: frozenset[str], where: str) -> None:
    unknown = fields.keys() - allowed
    if unknown:
        raise RequestError(f"{where} has the unknown field {min(map(str, unknown))!r}")


def _grammar(response_format: Mapping[str, Any]) -> Grammar:
    from mlr.grammar.gbnf import parse_gbnf
    from mlr.grammar.json_schema import json_object_grammar, schema_grammar

    if response_format["type"] == "json_object":
        return json_object_grammar()
    if response_format["type"] == "grammar":
        source = response_format.get("grammar")
        if not isinstance(source, str):
            raise GrammarError("response_format.grammar must be a grammar in GBNF, as a string")
        return parse_gbnf(source)
    wrapper = response_format.get("json_schema")
    if not isinstance(wrapper, Mapping) or "schema" not in wrapper:
        raise GrammarError('response_format.json_schema must be {"schema": …}')
    _only(wrapper, _SCHEMA_FIELDS, "response_format.json_schema")
    return schema_grammar(wrapper["schema"])
