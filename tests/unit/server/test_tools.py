"""Calls of functions: how answers are read, and what prompts tell of tools."""

from __future__ import annotations

import itertools
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlr.server.schema import ChatRequest, parse
from mlr.server.tools import CallReader, message_of, template_messages, template_tools

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather somewhere.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
ASK = {"role": "user", "content": "Rain in Paris?"}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
}
ANSWERED = [
    ASK,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]


def request(**fields: Any) -> ChatRequest:
    return parse(ChatRequest, {"model": "m", "messages": [ASK], **fields})


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(places)]


@given(
    name=st.from_regex(r"\A[a-z_-]{1,9}\Z"),
    arguments=st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 60), max_size=8),
)
def test_a_call_is_read_however_it_is_cut(
    name: str, arguments: dict[str, Any], cuts: list[int]
) -> None:
    text = json.dumps(arguments)
    reader = CallReader()
    deltas = []
    for piece in pieces(f'{{"name":"{name}","arguments":{text}}}', cuts):
        deltas += reader.push(piece)
    last, reason = reader.finish("stop")
    message = message_of(deltas + last)
    assert reason == "tool_calls"
    assert message["content"] is None
    (call,) = message["tool_calls"]
    assert call["id"].startswith("call_")
    assert call["function"] == {"name": name, "arguments": text}


@given(
    text=st.text(max_size=20).filter(lambda text: not text.startswith("{")),
    cuts=st.lists(st.integers(0, 20)),
)
def test_other_text_is_content(text: str, cuts: list[int]) -> None:
    reader = CallReader()
    deltas = [delta for piece in pieces(text, cuts) for delta in reader.push(piece)]
    last, reason = reader.finish("stop")
    assert message_of(deltas + last) == {"role": "assistant", "content": text, "refusal": None}
    assert reason == "stop"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name":"wea', {"content": '{"name":"wea'}),
        ('{"name":"weather","arguments":{"ci', {"arguments": '{"ci'}),
        ('{"name":"weather","arguments":{}', {"arguments": "{}"}),
    ],
)
def test_a_call_that_was_cut_off(text: str, message: dict[str, str]) -> None:
    reader = CallReader()
    deltas = reader.push(text)
    last, reason = reader.finish("length")
    made = message_of(deltas + last)
    assert reason == "length"
    if "content" in message:
        assert made["content"] == message["content"]
    else:
        assert made["tool_calls"][0]["function"]["arguments"] == message["arguments"]


def test_what_a_generation_is_held_to() -> None:
    assert request().format is None
    assert request(tools=[TOOL], tool_choice="none").format is None
    function = {"name": "weather", "parameters": TOOL["function"]["parameters"]}  # type: ignore[index]
    for choice, required in (
        (None, False),
        ("auto", False),
        ("required", True),
        ({"type": "function", "function": {"name": "weather"}}, True),
    ):
        made = request(tools=[TOOL], tool_choice=choice).format
        assert made == {"type": "tool_call", "functions": [function], "required": required}


def test_a_template_that_knows_of_tools_gets_them() -> None:
    template = "{{ tools }} {% if role == 'tool' %} {{ message.tool_calls }}"
    asked = request(tools=[TOOL], messages=ANSWERED)
    assert template_tools(asked, template) == [TOOL]
    user, assistant, tool = template_messages(asked, template)
    assert user == ASK
    function = {"name": "weather", "arguments": {"city": "Paris"}}
    assert assistant["tool_calls"] == [{"type": "function", "function": function}]
    assert tool == {"role": "tool", "content": "sunny", "tool_call_id": "call_1"}


def test_other_templates_are_told_in_the_last_message() -> None:
    asked = request(tools=[TOOL], messages=ANSWERED)
    assert template_tools(asked, "{{ messages }}") is None
    user, assistant, tool = template_messages(asked, "{{ messages }}")
    assert user == ASK
    assert json.loads(assistant["content"]) == {"name": "weather", "arguments": {"city": "Paris"}}
    assert tool["role"] == "user"
    assert "The weather somewhere." in tool["content"]
    assert tool["content"].endswith("\n\nsunny")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
        ),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [TOOL], "response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
    ],
)
def test_wrong_tools(client: httpx.Client, fields: dict[str, Any], param: str) -> None:
    body = {"model": "fake", "messages": [ASK], **fields}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"].startswith(param)
