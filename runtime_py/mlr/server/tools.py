"""Tools of a chat: how a prompt tells of them, and how a model's call becomes OpenAI's."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import Any

from mlr.server.schema import ChatRequest, Message

__all__ = ["CallReader", "message_of", "template_messages", "template_tools"]

_BEGINNING = re.compile(r'\{"name":("(?:[^"\\]|\\.)*"),"arguments":', re.DOTALL)

_HINT = (
    "Functions that can be called, as JSON:\n{functions}\n"
    'A call is written as {{"name": "…", "arguments": {{…}}}} and nothing else.'
)


class CallReader:
    """Reads an answer as it is generated: text, or a call in the form of `tool_call_grammar`."""

    def __init__(self) -> None:
        self.called = False  # a call has begun
        self._is_text = False
        self._held = ""

    def push(self, text: str) -> list[dict[str, Any]]:
        """The deltas of a message that the next piece of the answer gives."""
        if self._is_text:
            return [{"content": text}]
        self._held += text
        deltas: list[dict[str, Any]] = []
        if not self.called:
            if self._held and not self._held.startswith("{"):
                text, self._held = self._held, ""
                self._is_text = True
                return [{"content": text}]
            match = _BEGINNING.match(self._held)
            if match is None:
                return []
            self.called = True
            self._held = self._held[match.end() :]
            function = {"name": json.loads(match[1]), "arguments": ""}
            call = {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
            deltas.append({"tool_calls": [{"index": 0, **call}]})
        # The last character is held back: at the end it is the brace around the call.
        ready, self._held = self._held[:-1], self._held[-1:]
        if ready:
            deltas.append({"tool_calls": [{"index": 0, "function": {"arguments": ready}}]})
        return deltas

    def finish(self, reason: str) -> tuple[list[dict[str, Any]], str]:
        """The last deltas, and the reason why the answer ended, from why generation did."""
        if self.called and reason == "stop":
            return [], "tool_calls"
        if self._held and self.called:
            return [{"tool_calls": [{"index": 0, "function": {"arguments": self._held}}]}], reason
        return ([{"content": self._held}] if self._held else []), reason


def message_of(deltas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole message that deltas make up."""
    content = "".join(delta.get("content", "") for delta in deltas)
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    if not calls:
        return {"role": "assistant", "content": content, "refusal": None}
    first, *more = calls
    arguments = "".join(call["function"]["arguments"] for call in more)
    function = {"name": first["function"]["name"], "arguments": arguments}
    call = {"id": first["id"], "type": "function", "function": function}
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}


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
