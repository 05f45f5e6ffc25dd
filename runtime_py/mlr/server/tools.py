"""Tools of a chat: how a prompt tells of them, and how a model's call becomes OpenAI's."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import Any

from mlr.server.schema import ChatRequest, Message

__all__ = [
    "CallReader",
    "answer_format",
    "call_tags",
    "message_of",
    "template_messages",
    "template_tools",
]

TAGS = ("<tool_call>", "</tool_call>")

_BEGINNING = re.compile(r'\n?\{"name": ?("(?:[^"\\]|\\.)*"), ?"arguments": ?(?=[^ ])', re.DOTALL)
_OTHER_CALLS = re.compile("<function=|<arg_key>")

_HINT = (
    "Functions that can be called, as JSON:\n{functions}\n"
    'A call is written as {{"name": "…", "arguments": {{…}}}} and nothing else.'
)


def call_tags(template: str) -> list[str] | None:
    """What a model writes calls between, as its chat template shows; None: nothing.

    It is the form of Hermes, which Qwen, SmolLM and others have, too. Templates with other
    calls between the same tags do not speak of arguments as JSON has them.
    """
    known = all(part in template for part in (*TAGS, "arguments"))
    return list(TAGS) if known and not _OTHER_CALLS.search(template) else None


def answer_format(request: ChatRequest, template: str) -> dict[str, Any] | None:
    """What the answer is held to: calls where tools may be called, else `response_format`."""
    if not request.callable_tools:
        return request.response_format
    return {
        "type": "tool_call",
        "functions": [
            tool.function.model_dump(include={"name", "parameters"})
            for tool in request.callable_tools
        ],
        "required": request.tool_choice not in (None, "auto"),
        "tags": call_tags(template),
        "several": request.parallel_tool_calls is not False and request.chosen_tool is None,
    }


class CallReader:
    """Reads an answer as it is generated: text, and calls in the form of `tool_call_grammar`."""

    def __init__(self, tags: Sequence[str] | None = None) -> None:
        self._tag = tags[0] if tags else ""
        self._read = self._read_text
        self._held = ""
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

    def _read_text(self) -> list[dict[str, Any]]:
        """Text before a call. What may be the beginning of one is held."""
        if self._tag:
            at = self._held.find(self._tag)
            if at >= 0:
                self._read = self._read_beginning
            else:
                at = len(self._held) - _overlap(self._held, self._tag)
        elif self._held.startswith("{"):
            self._read, at = self._read_beginning, 0
        else:
            self._read, at = self._read_rest, len(self._held)
        ready, self._held = self._held[:at], self._held[at:]
        return [{"content": ready}] if ready else []

    def _read_rest(self) -> list[dict[str, Any]]:
        """Text, when there is no call."""
        ready, self._held = self._held, ""
        return [{"content": ready}]

    def _read_beginning(self) -> list[dict[str, Any]]:
        match = _BEGINNING.match(self._held, len(self._tag))
        if match is None:
            return []
        self._held = self._held[match.end() :]
        self._read = self._read_arguments
        function = {"name": json.loads(match[1]), "arguments": ""}
        call = {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
        self._calls += 1
        return [{"tool_calls": [{"index": self._calls - 1, **call}]}]

    def _read_arguments(self) -> list[dict[str, Any]]:
        """JSON up to the brace that ends the call."""
        size = 0
        for size, character in enumerate(self._held):  # noqa: B007 - the place of the end
            if self._in_string:
                self._in_string = self._escaped or character != '"'
                self._escaped = not self._escaped and character == "\\"
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                if self._depth == 0:
                    self._read = self._read_between
                    self._ended += 1
                    break
                self._depth -= 1
        else:
            size = len(self._held)
        ready, self._held = self._held[:size], self._held[size:]
        function = {"arguments": ready}
        return [{"tool_calls": [{"index": self._calls - 1, "function": function}]}] if ready else []

    def _read_between(self) -> list[dict[str, Any]]:
        """The end of a call, and the beginning of the next one if it comes."""
        at = self._held.find(self._tag) if self._tag else -1
        if at >= 0:
            self._held, self._read = self._held[at:], self._read_beginning
        return []

    def finish(self, reason: str) -> tuple[list[dict[str, Any]], str]:
        """The last deltas, and the reason why the answer ended, from why generation did."""
        if self._ended:
            return [], "tool_calls" if reason == "stop" else reason
        return ([{"content": self._held}] if self._held else []), reason


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


def template_tools(request: ChatRequest, template: str) -> list[dict[str, Any]] | None:
    """The tools for a template that knows of tools, else None."""
    if not request.callable_tools or "tools" not in template:
        return None
    return [tool.model_dump(exclude_none=True) for tool in request.callable_tools]


def template_messages(request: ChatRequest, template: str) -> list[dict[str, Any]]:
    """The messages as templates expect them.

    Where the template does not know of tools, the last message tells of them, and calls and
    their results are messages like others.
    """
    messages = [_template_message(message, template) for message in request.messages]
    if request.callable_tools and "tools" not in template:
        functions = [tool.function.model_dump(exclude_none=True) for tool in request.callable_tools]
        hint = _HINT.format(functions=json.dumps(functions, ensure_ascii=False))
        messages[-1]["content"] = f"{hint}\n\n{messages[-1]['content']}"
    return messages


def _template_message(message: Message, template: str) -> dict[str, Any]:
    # Templates know the older name of what developers say.
    role = message.role.replace("developer", "system")
    if role == "tool" and not re.search(r"""["']tool["']""", template):
        role = "user"
    made: dict[str, Any] = {"role": role, "content": message.content}
    if message.tool_call_id is not None:
        made["tool_call_id"] = message.tool_call_id
    if not message.tool_calls:
        return made
    calls = [
        {"name": call.function.name, "arguments": call.function.parsed()}
        for call in message.tool_calls
    ]
    if "tool_calls" in template:
        made["tool_calls"] = [{"type": "function", "function": call} for call in calls]
    else:
        texts = [json.dumps(call, ensure_ascii=False) for call in calls]
        made["content"] = "\n".join([*filter(None, [message.content]), *texts])
    return made
