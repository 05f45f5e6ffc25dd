"""Tools of a chat: how a prompt tells of them, and how a model's call becomes OpenAI's."""

from __future__ import annotations

import json
import re
from typing import Any

from mlr.server.schema import ChatRequest, Message

__all__ = ["answer_format", "call_form", "template_messages", "template_tools"]

_OTHER_CALLS = re.compile("<function=|<arg_key>")
_LIST = re.compile(r"\[TOOL_CALLS\]\s*\[(?!ARGS|CALL_ID)")
_SHORT_ID = 9  # letters and digits: what templates of Mistral take for the id of a call

_HINT = (
    "Functions that can be called, as JSON:\n{functions}\n"
    'A call is written as {{"name": "…", "arguments": {{…}}}} and nothing else.'
)


def call_form(template: str) -> str:
    """The form in which a model writes calls, as its chat template shows; see `FORMS`."""
    if all(tag in template for tag in ("<tool_call>", "</tool_call>", "arguments")):
        # Templates with other calls between the same tags do not speak of arguments as JSON.
        return "plain" if _OTHER_CALLS.search(template) else "hermes"
    if "[TOOL_CALLS]" in template:
        return "mistral-list" if _LIST.search(template) else "mistral-named"
    if "<|tool_call|>" in template:
        return "phi" if "<|/tool_call|>" in template else "granite"
    if '"parameters": ' in template and "ipython" in template:
        return "llama"
    return "plain"


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
        "form": call_form(template),
        "several": request.parallel_tool_calls is not False and request.chosen_tool is None,
    }


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
        made["tool_call_id"] = _template_id(message.tool_call_id, template)
    if not message.tool_calls:
        return made
    calls = [
        {"name": call.function.name, "arguments": call.function.parsed()}
        for call in message.tool_calls
    ]
    if "tool_calls" in template:
        ids = [_template_id(call.id, template) for call in message.tool_calls]
        made["tool_calls"] = [
            {"id": own, "type": "function", "function": call}
            for own, call in zip(ids, calls, strict=True)
        ]
    else:
        texts = [json.dumps(call, ensure_ascii=False) for call in calls]
        made["content"] = "\n".join([*filter(None, [message.content]), *texts])
    return made


def _template_id(own: str, template: str) -> str:
    """The id of a call, as short as the template may want it."""
    if "[TOOL_CALLS]" not in template:
        return own
    return re.sub("[^a-zA-Z0-9]", "", own)[-_SHORT_ID:].rjust(_SHORT_ID, "0")
