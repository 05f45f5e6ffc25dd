"""Calls of functions: how answers are read, and what prompts tell of tools."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.grammar.matcher import Matcher
from mlr.grammar.tool_calls import tool_call_grammar
from mlr.grammar.tool_forms import FORMS
from mlr.server.call_reader import CallReader, message_of
from mlr.server.schema import ChatRequest, parse
from mlr.server.tools import answer_format, call_form, template_messages, template_tools
from mlr.tokenizer.chat import render
from tests.unit.grammar.json_texts import draw_text

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


HERMES = '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'


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


def read(
    text: str, cuts: list[int], reason: str = "stop", form: str = "hermes"
) -> tuple[dict[str, Any], str]:
    """The message that is read from an answer in pieces, and why it ended."""
    reader = CallReader(form)
    deltas = [delta for piece in pieces(text, cuts) for delta in reader.push(piece)]
    last, reason = reader.finish(reason)
    return message_of(deltas + last), reason


CUTS = st.lists(st.integers(0, 150), max_size=8)


@given(cuts=CUTS, before=st.sampled_from(["", "Let me see.\n", "1 < 2 <tool <<tool_"]))
def test_calls_between_tags(cuts: list[int], before: str) -> None:
    """However they are cut; what looks like a tag within a text is none."""
    arguments = ['{"city": "Paris </tool_call> \\"}{"}', "{}"]
    calls = [
        f'<tool_call>\n{{"name": "{name}", "arguments": {text}}}\n</tool_call>'
        for name, text in zip(["weather", "time"], arguments, strict=True)
    ]
    message, reason = read(before + "\n".join(calls), cuts)
    assert reason == "tool_calls"
    assert message["content"] == (before or None)
    made = [call["function"] for call in message["tool_calls"]]
    assert made == [
        {"name": "weather", "arguments": arguments[0]},
        {"name": "time", "arguments": arguments[1]},
    ]
    assert len({call["id"] for call in message["tool_calls"]}) == 2


@given(cuts=CUTS, text=st.sampled_from(["", "<", "{}", "a <tool_call", "<think>hm</think> b"]))
def test_text_without_a_tag(cuts: list[int], text: str) -> None:
    expected = {"role": "assistant", "content": text, "refusal": None}
    assert read(text, cuts) == (expected, "stop")


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_what_the_grammar_allows_is_read(required: bool, form: str) -> None:
    """Texts drawn at random from the grammar."""
    functions = [
        {"name": "weather", "parameters": TOOL["function"]["parameters"]},  # type: ignore[index]
        {"name": "time", "parameters": None},
    ]
    matcher = Matcher(tool_call_grammar(functions, required=required, form=form))
    chance = random.Random(5)
    called = 0
    for _ in range(60):
        text = draw_text(matcher, chance)
        reader = CallReader(form)
        deltas = [delta for character in text for delta in reader.push(character)]
        last, reason = reader.finish("stop")
        message = message_of(deltas + last)
        for call in message.get("tool_calls", ()):
            assert call["function"]["name"] in ("weather", "time")
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
        if reason == "stop":
            assert message["content"] == text
        called += reason == "tool_calls"
    assert called == 60 if required else called < 60


def test_a_call_may_follow_a_text() -> None:
    functions = [{"name": "time", "parameters": None}]
    matcher = Matcher(tool_call_grammar(functions, required=False, form="hermes"))
    call = b'<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'
    thought = b"<think>\nwell <tool\n</think>\n\n"
    for text in (b"", b"{}", b"<tool_", thought + call, call + b"\n" + call):
        assert matcher.accepts(text)
    for text in (b"<tool_call>", b"<tool_call>none", call + b"so", call.replace(b"time", b"tine")):
        assert not matcher.accepts(text)
    must = Matcher(tool_call_grammar(functions, required=True, form="hermes"))
    assert must.accepts(call)
    assert not must.accepts(b"text" + call)
    one = tool_call_grammar(functions, required=False, form="hermes", several=False)
    assert Matcher(one).accepts(call)
    assert not Matcher(one).accepts(call + call)


# Answers as these models give them, with calls of weather and of time where there may be two.
WEATHER, TIME = '{"city": "Paris, }{ [TOOL_CALLS]"}', "{}"
ANSWERS = {
    "llama": ['{"name": "weather", "parameters": WEATHER}'],
    "llama with its tag": ['<|python_tag|>{"name": "weather", "parameters": WEATHER}'],
    "mistral-list": [
        '[TOOL_CALLS] [{"name": "weather", "arguments": WEATHER}]',
        '[TOOL_CALLS][{"name": "weather", "arguments": WEATHER}, '
        '{"name": "time", "arguments": {}}]',
    ],
    "mistral-named": [
        "[TOOL_CALLS]weather[ARGS]WEATHER",
        "[TOOL_CALLS]weatherWEATHER[TOOL_CALLS]time{}",
        "[TOOL_CALLS]weather[CALL_ID]a1B2c3D4e[ARGS]WEATHER[TOOL_CALLS]time[ARGS]{}",
    ],
    "phi": [
        '<|tool_call|>[{"name": "weather", "arguments": WEATHER}]<|/tool_call|>',
        '<|tool_call|>[{"name": "weather", "arguments": WEATHER}, '
        '{"name": "time", "arguments": {}}]<|/tool_call|>',
    ],
    "granite": ['<|tool_call|>[{"name": "weather", "arguments": WEATHER}]'],
}
FUNCTIONS = [
    {"name": "weather", "parameters": TOOL["function"]["parameters"]},  # type: ignore[index]
    {"name": "time", "parameters": None},
]


@settings(max_examples=30, deadline=None)
@given(cuts=CUTS)
@pytest.mark.parametrize(
    ("kind", "number"), [(kind, n) for kind, texts in ANSWERS.items() for n in range(len(texts))]
)
def test_answers_of_other_models(kind: str, number: int, cuts: list[int]) -> None:
    text = ANSWERS[kind][number].replace("WEATHER", WEATHER)
    form = kind.split()[0]
    for required in (False, True):
        grammar = tool_call_grammar(FUNCTIONS, required=required, form=form)
        assert Matcher(grammar).accepts(text.encode())
        broken = text.replace("weather", "whether").encode()
        assert Matcher(grammar).accepts(broken) == (not required and "python_tag" in text)
    message, reason = read(text, cuts, form=form)
    assert reason == "tool_calls"
    assert message["content"] is None
    calls = [call["function"] for call in message["tool_calls"]]
    second = [{"name": "time", "arguments": TIME}] if "time" in text else []
    assert calls == [{"name": "weather", "arguments": WEATHER}, *second]
    if second:
        one = tool_call_grammar(FUNCTIONS, required=True, form=form, several=False)
        assert not Matcher(one).accepts(text.encode())


@settings(max_examples=30, deadline=None)
@given(cuts=CUTS)
@pytest.mark.parametrize("form", ["mistral-list", "mistral-named", "phi", "granite"])
def test_text_before_a_call(form: str, cuts: list[int]) -> None:
    text = "Let me [TOOL_ see.\n" + ANSWERS[form][0].replace("WEATHER", WEATHER)
    assert Matcher(tool_call_grammar(FUNCTIONS, required=False, form=form)).accepts(text.encode())
    message, _ = read(text, cuts, form=form)
    assert message["content"] == "Let me [TOOL_ see.\n"
    assert message["tool_calls"][0]["function"]["arguments"] == WEATHER


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"name": "weather", "argu', "llama"),
        ("<|python", "llama"),
        ("[TOOL_CALLS]wea", "mistral-named"),
        ("[TOOL_CALLS] [", "mistral-list"),
        ("Hello", "llama"),
    ],
)
def test_what_does_not_become_a_call(text: str, form: str) -> None:
    message, reason = read(text, [3], "length", form)
    assert (message["content"], reason) == (text, "length")


# Templates as short as can be that write calls like those of the models.
LLAMA = """{%- for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>
{%- if message.tool_calls %}
{{- '{"name": "' + message.tool_calls[0].function.name + '", ' }}
{{- '"parameters": ' }}{{ message.tool_calls[0].function.arguments | tojson }}{{ "}" }}
{%- elif message.role == "tool" %}ipython: {{ message.content }}
{%- else %}{{ message.content }}{% endif %}<|eot_id|>{% endfor %}{{ tools | tojson }}"""
MISTRAL = """{%- for message in messages %}{% if message.tool_calls %}{{ "[TOOL_CALLS] [" }}
{%- for call in message.tool_calls %}{% if call.id | length != 9 %}
{{- raise_exception("ids have a length of 9") }}{% endif %}
{{- call.function | tojson }}{{ call.id }}{% endfor %}{{ "]" }}
{%- elif message.role == "tool" %}[TOOL_RESULTS]{{ message.tool_call_id }}{{ message.content }}
{%- else %}[INST]{{ message.content }}[/INST]{% endif %}{% endfor %}{{ tools | tojson }}"""


@pytest.mark.parametrize(
    ("template", "form"),
    [
        (HERMES, "hermes"),
        ("{{ messages }}", "plain"),
        (HERMES + "<function=example>", "plain"),  # arguments as XML
        (LLAMA, "llama"),
        (MISTRAL, "mistral-list"),
        ("{{ '[TOOL_CALLS]' + name + '[ARGS]' + arguments }}", "mistral-named"),
        ("{{ '[TOOL_CALLS][ARGS]' }}", "mistral-named"),
        ("<|tool_call|>{{ calls }}<|/tool_call|>", "phi"),
        ("<|tool_call|>{{ calls }}", "granite"),
        ('{"name": …, "parameters": {…}}', "plain"),
    ],
)
def test_the_form_is_that_of_the_template(template: str, form: str) -> None:
    assert call_form(template) == form


@pytest.mark.parametrize("template", [LLAMA, MISTRAL])
def test_calls_and_results_go_through_the_template(template: str) -> None:
    asked = request(tools=[TOOL], messages=ANSWERED)
    messages, tools = template_messages(asked, template), template_tools(asked, template)
    rendered = render(template, messages, bos_token="", eos_token="", tools=tools)
    assert '{"city": "Paris"}' in rendered
    assert "sunny" in rendered
    if template == MISTRAL:
        assert rendered.count("0000call1") == 2  # of the call, and of its result


def test_what_a_generation_is_held_to() -> None:
    assert answer_format(request(), HERMES) is None
    assert answer_format(request(tools=[TOOL], tool_choice="none"), HERMES) is None
    function = {"name": "weather", "parameters": TOOL["function"]["parameters"]}  # type: ignore[index]
    for choice, required in (
        (None, False),
        ("auto", False),
        ("required", True),
        ({"type": "function", "function": {"name": "weather"}}, True),
    ):
        for template, form in (("{{ messages }}", "plain"), (HERMES, "hermes")):
            assert answer_format(request(tools=[TOOL], tool_choice=choice), template) == {
                "type": "tool_call",
                "functions": [function],
                "required": required,
                "form": form,
                "several": not isinstance(choice, dict),
            }
    made = answer_format(request(tools=[TOOL], parallel_tool_calls=False), HERMES)
    assert made is not None
    assert not made["several"]


def test_a_template_that_knows_of_tools_gets_them() -> None:
    template = "{{ tools }} {% if role == 'tool' %} {{ message.tool_calls }}"
    asked = request(tools=[TOOL], messages=ANSWERED)
    assert template_tools(asked, template) == [TOOL]
    user, assistant, tool = template_messages(asked, template)
    assert user == ASK
    function = {"name": "weather", "arguments": {"city": "Paris"}}
    assert assistant["tool_calls"] == [{"id": "call_1", "type": "function", "function": function}]
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
