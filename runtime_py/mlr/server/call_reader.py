"""Reading a model's calls of functions out of its answer, piece by piece."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import Any

from mlr.grammar.tool_forms import FORMS

__all__ = ["CallReader", "message_of"]

_OBJECT = re.compile(
    r'[\s\[,]*\{"name": ?("(?:[^"\\]|\\.)*"), ?"(?:arguments|parameters)": ?(?=[^ ])', re.DOTALL
)
_NAME = re.compile(r"\s*([a-zA-Z0-9_-]+)(?:\[CALL_ID\][a-zA-Z0-9]*)?(?:\[ARGS\])?\s*(?=\{)")


class CallReader:
    """Reads an answer as it is generated: text, and calls as `tool_call_grammar` has them."""

    def __init__(self, form: str = "plain") -> None:
        """`form` is one of `FORMS`."""
        self._form = FORMS[form]
        self._read = self._read_start if self._form.bare else self._read_text
        self._held = ""
        self._skipped = 0  # characters of what is held that a call's beginning follows
        self._calls = 0
        self._ended = 0  # of the calls
        self._depth = 0  # of the arguments of a call, at the place that is read
        self._in_string = self._escaped = False

    def push(self, text: str) -> list[dict[str, Any]]:
        """The deltas of a message that the next piece of the answer gives."""
        self._held += text
        deltas: list[dict[str, Any]] = []
        reading = None
        while self._held and reading != self._read:
            reading = self._read
            deltas += self._read()
        return deltas

    def finish(self, reason: str) -> tuple[list[dict[str, Any]], str]:
        """The last deltas, and the reason why the answer ended, from why generation did."""
        if self._ended:
            return [], "tool_calls" if reason == "stop" else reason
        return ([{"content": self._held}] if self._held else []), reason

    def _read_start(self) -> list[dict[str, Any]]:
        """The first characters, where they say whether the answer is a call."""
        tag = self._form.before
        if self._held.startswith("{"):
            self._begin(0)
        elif tag and self._held.startswith(tag):
            self._begin(len(tag))
        elif not tag.startswith(self._held):
            self._read = self._read_rest
        return []

    def _read_text(self) -> list[dict[str, Any]]:
        """Text before a call. What may be the beginning of one is held."""
        tag = self._form.before
        at = self._held.find(tag)
        if at >= 0:
            self._begin(len(tag))
        else:
            at = len(self._held) - _overlap(self._held, tag)
        ready, self._held = self._held[:at], self._held[at:]
        return [{"content": ready}] if ready else []

    def _read_rest(self) -> list[dict[str, Any]]:
        """Text, when there is no call."""
        ready, self._held = self._held, ""
        return [{"content": ready}]

    def _begin(self, skipped: int) -> None:
        self._read, self._skipped = self._read_beginning, skipped

    def _read_beginning(self) -> list[dict[str, Any]]:
        named = self._form.layout == "named"
        match = (_NAME if named else _OBJECT).match(self._held, self._skipped)
        if match is None:
            return []
        self._held = self._held[match.end() :]
        self._read = self._read_arguments
        function = {"name": match[1] if named else json.loads(match[1]), "arguments": ""}
        call = {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
        self._calls += 1
        return [{"tool_calls": [{"index": self._calls - 1, **call}]}]

    def _read_arguments(self) -> list[dict[str, Any]]:
        """JSON up to its own last brace, or to the one that ends the call around it."""
        size = 0
        for size, character in enumerate(self._held):
            if self._in_string:
                self._in_string = self._escaped or character != '"'
                self._escaped = not self._escaped and character == "\\"
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                if self._depth == 0:
                    self._end_call()
                    break
                self._depth -= 1
                if self._depth == 0 and self._form.layout == "named":
                    self._end_call()
                    size += 1
                    break
        else:
            size = len(self._held)
        ready, self._held = self._held[:size], self._held[size:]
        function = {"arguments": ready}
        return [{"tool_calls": [{"index": self._calls - 1, "function": function}]}] if ready else []

    def _end_call(self) -> None:
        self._read = self._read_between
        self._ended += 1

    def _read_between(self) -> list[dict[str, Any]]:
        """The end of a call, and the beginning of the next one if it comes."""
        tag = "," if self._form.layout == "list" else self._form.before
        at = self._held.find(tag) if not self._form.bare else -1
        if at >= 0:
            self._held = self._held[at:]
            self._begin(len(tag))
        return []


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    sizes = range(min(len(text), len(tag) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(tag[:size])), 0)


def message_of(deltas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole message that deltas make up."""
    content = "".join(delta.get("content", "") for delta in deltas)
    calls: list[dict[str, Any]] = []
    for delta in deltas:
        for part in delta.get("tool_calls", ()):
            if part["index"] == len(calls):
                calls.append({**part, "function": dict(part["function"])})
            else:
                calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if calls:
        message["content"] = content if content.strip() else None
        message["tool_calls"] = [
            {key: call[key] for key in ("id", "type", "function")} for call in calls
        ]
    return message
