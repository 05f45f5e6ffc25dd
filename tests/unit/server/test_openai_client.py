"""The official `openai` client, unchanged, against `mlr serve`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import openai
import pytest
from openai.types.chat import (
    ChatCompletionMessageParam,
    ChatCompletionToolChoiceOptionParam,
    ChatCompletionToolParam,
)

from tests.support.bundles import with_files
from tests.unit.server.served import ServerProcess

PROMPT = "The capital of France is"
MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Name a colour."}]},
]


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Iterator[openai.OpenAI]:
    """A client of a server with the tiny model."""
    with ServerProcess(tiny_bundle) as server:
        yield client_of(server)


def client_of(server: ServerProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_models(tiny: openai.OpenAI) -> None:
    assert [model.id for model in tiny.models.list()] == ["tiny"]
    model = tiny.models.retrieve("tiny")
    assert (model.id, model.object, model.owned_by) == ("tiny", "model", "mlr")


def test_a_completion(tiny: openai.OpenAI) -> None:
    answer = tiny.completions.create(model="tiny", prompt="hello", max_tokens=5, temperature=0)
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 5


def test_a_streamed_completion_says_the_same(tiny: openai.OpenAI) -> None:
    whole = tiny.completions.create(model="tiny", prompt="hello", max_tokens=9, temperature=0)
    stream = tiny.completions.create(
        model="tiny",
        prompt="hello",
        max_tokens=9,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"
    assert last.usage == whole.usage


def test_seeds(tiny: openai.OpenAI) -> None:
    def text(seed: int) -> str:
        answer = tiny.completions.create(
            model="tiny", prompt="hello", max_tokens=20, temperature=2, seed=seed
        )
        return answer.choices[0].text

    assert text(-5) == text(-5)
    assert text(-5) != text(6)


def test_extensions(tiny: openai.OpenAI) -> None:
    extra = {"top_k": 1, "min_p": 0.1, "repeat_penalty": 1.0}
    greedy = tiny.completions.create(model="tiny", prompt="hello", max_tokens=9, temperature=0)
    answer = tiny.completions.create(model="tiny", prompt="hello", max_tokens=9, extra_body=extra)
    assert answer.choices[0].text == greedy.choices[0].text  # one token to choose from


def test_a_chat(tiny: openai.OpenAI) -> None:
    answer = tiny.chat.completions.create(
        model="tiny", messages=MESSAGES, max_completion_tokens=5, temperature=0
    )
    assert answer.object == "chat.completion"
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    # What came back can be sent again as it is.
    again = tiny.chat.completions.create(
        model="tiny",
        messages=[*MESSAGES, choice.message, MESSAGES[1]],  # type: ignore[list-item]
        max_tokens=1,
    )
    assert again.choices[0].finish_reason == "length"


def test_a_streamed_chat_says_the_same(tiny: openai.OpenAI) -> None:
    whole = tiny.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=9, temperature=0
    )
    stream = tiny.chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        max_tokens=9,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"
    assert last.usage == whole.usage


COLOUR = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "warm": {"type": "boolean"},
        "rgb": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 255},
            "minItems": 3,
            "maxItems": 3,
        },
    },
    "required": ["name", "warm", "rgb"],
    "additionalProperties": False,
}


def test_a_chat_held_to_a_schema(tiny: openai.OpenAI) -> None:
    answer = tiny.chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        max_tokens=300,
        temperature=2,
        seed=1,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "colour", "schema": COLOUR, "strict": True},
        },
        logprobs=True,
        top_logprobs=3,
        frequency_penalty=0.5,
        presence_penalty=0.5,
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.content is not None
    jsonschema.validate(json.loads(choice.message.content), COLOUR)
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    data = b"".join(bytes(entry.bytes or []) for entry in choice.logprobs.content)
    assert data.decode() == choice.message.content
    for entry in choice.logprobs.content:
        assert entry.logprob <= 0
        assert len(entry.top_logprobs) == 3
        values = [other.logprob for other in entry.top_logprobs]
        assert values == sorted(values, reverse=True)


def test_log_probabilities_are_the_same_in_a_stream(tiny: openai.OpenAI) -> None:
    whole = tiny.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=12, temperature=0, logprobs=True, top_logprobs=2
    )
    stream = tiny.chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        max_tokens=12,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
        stream=True,
    )
    assert whole.choices[0].logprobs is not None
    together = []
    for chunk in stream:
        logprobs = chunk.choices[0].logprobs
        together += (logprobs.content or []) if logprobs is not None else []
    assert together == whole.choices[0].logprobs.content
    assert len(together) == 12


def test_a_completion_s_log_probabilities(tiny: openai.OpenAI) -> None:
    whole = tiny.completions.create(
        model="tiny", prompt="hello", max_tokens=9, temperature=0, logprobs=2, echo=True
    )
    (choice,) = whole.choices
    assert choice.text.startswith("hello")
    logprobs = choice.logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.text_offset is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == 9
    assert logprobs.text_offset[0] == len("hello")
    for token, value, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert top[token] == value == max(top.values())
    stream = tiny.completions.create(
        model="tiny",
        prompt="hello",
        max_tokens=9,
        temperature=0,
        logprobs=2,
        echo=True,
        stream=True,
    )
    tokens: list[str] = []
    offsets: list[int] = []
    for chunk in stream:
        part = chunk.choices[0].logprobs
        tokens += (part.tokens or []) if part is not None else []
        offsets += (part.text_offset or []) if part is not None else []
    assert (tokens, offsets) == (logprobs.tokens, logprobs.text_offset)


def test_a_completion_held_to_a_grammar(tiny: openai.OpenAI) -> None:
    answer = tiny.completions.create(
        model="tiny",
        prompt="hello",
        max_tokens=40,
        extra_body={"response_format": {"type": "grammar", "grammar": 'root ::= "a" [0-9]{3}'}},
    )
    assert re.fullmatch(r"a\d{3}", answer.choices[0].text)
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="line 1, column 10") as wrong:
            tiny.completions.create(
                model="tiny",
                prompt="hello",
                stream=stream,
                extra_body={"response_format": {"type": "grammar", "grammar": "root ::= )"}},
            )
        assert wrong.value.param == "response_format"


TOOLS: list[ChatCompletionToolParam] = [
    {"type": "function", "function": {"name": "paint", "parameters": COLOUR}},
    {"type": "function", "function": {"name": "stop"}},
]


@pytest.mark.parametrize("name", ["paint", "stop", None])
def test_a_call_of_a_function(tiny: openai.OpenAI, name: str | None) -> None:
    choice: ChatCompletionToolChoiceOptionParam = "required"
    if name is not None:
        choice = {"type": "function", "function": {"name": name}}
    for seed in range(3):
        answer = tiny.chat.completions.create(
            model="tiny",
            messages=MESSAGES,
            tools=TOOLS,
            tool_choice=choice,
            temperature=2,
            seed=seed,
            max_tokens=400,
        )
        assert answer.choices[0].finish_reason == "tool_calls"
        message = answer.choices[0].message
        assert message.content is None
        assert message.tool_calls is not None
        (call,) = message.tool_calls
        assert call.type == "function"
        assert call.function.name == name or name is None
        arguments = json.loads(call.function.arguments)
        jsonschema.validate(arguments, COLOUR if call.function.name == "paint" else {"const": {}})
        stream = tiny.chat.completions.create(
            model="tiny",
            messages=MESSAGES,
            tools=TOOLS,
            tool_choice=choice,
            temperature=2,
            seed=seed,
            max_tokens=400,
            stream=True,
        )
        *chunks, last = list(stream)
        parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]
        assert last.choices[0].finish_reason == "tool_calls"
        assert parts[0].function is not None
        assert parts[0].function.name == call.function.name
        texts = [part.function.arguments or "" for part in parts if part.function is not None]
        assert "".join(texts) == call.function.arguments
    again: list[Any] = [
        *MESSAGES,
        message,
        {"role": "tool", "tool_call_id": call.id, "content": "done"},
    ]
    answer = tiny.chat.completions.create(model="tiny", messages=again, tools=TOOLS, max_tokens=5)
    assert answer.choices[0].finish_reason in ("length", "stop", "tool_calls")


TEMPLATE = """{% if tools %}Tools: {{ tools | tojson }}
<tool_call>{"name": <name>, "arguments": <object>}</tool_call>
{% endif %}{% for message in messages %}{{ message.role }}: {{ message.content }}
{% endfor %}"""


def joined(parts: list[Any], index: int) -> str:
    """The arguments of one call, from the parts of a stream."""
    return "".join(part.function.arguments or "" for part in parts if part.index == index)


LLAMA = TEMPLATE.replace(
    '<tool_call>{"name": <name>, "arguments": <object>}</tool_call>',
    """
{{- '{"name": "' }}…", {{ '"parameters": ' }}… ipython""",
)
MISTRAL = TEMPLATE.replace("<tool_call>", '{{ "[TOOL_CALLS] [" }}').replace("</tool_call>", "]")


@pytest.mark.parametrize("template", [TEMPLATE, LLAMA, MISTRAL], ids=["hermes", "llama", "mistral"])
def test_calls_in_the_form_of_the_template(
    tiny_bundle: Path, tmp_path: Path, template: str
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "tiny")
    with_files(bundle, template)
    options: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "tools": TOOLS}
    with ServerProcess(bundle) as server:
        create = client_of(server).chat.completions.create
        one = create(**options, tool_choice="required", parallel_tool_calls=False, max_tokens=400)
        assert one.choices[0].finish_reason == "tool_calls"
        (call,) = one.choices[0].message.tool_calls
        assert call.function.name in ("paint", "stop")
        stream = create(**options, tool_choice="required", max_tokens=400, stream=True)
        parts = [
            part
            for chunk in stream
            for choice in chunk.choices
            for part in choice.delta.tool_calls or []
        ]
        assert parts[0].function.name in ("paint", "stop")
        assert isinstance(json.loads(joined(parts, 0)), dict)
        broken = {"name": "x", "parameters": {"not": {}}}
        with pytest.raises(openai.BadRequestError) as wrong:
            create(**options | {"tools": [{"type": "function", "function": broken}]})
        assert wrong.value.param == "tools"


def test_errors_have_the_client_s_types(tiny: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        tiny.models.retrieve("gpt-4")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        tiny.completions.create(model="gpt-4", prompt="hello")
    with pytest.raises(openai.BadRequestError) as wrong:
        tiny.completions.create(model="tiny", prompt="hello", temperature=3)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as several:
        tiny.chat.completions.create(model="tiny", messages=MESSAGES, n=2)
    assert several.value.code == "unsupported_parameter"
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as long:
            tiny.completions.create(model="tiny", prompt="long " * 20_000, stream=stream)
        assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.APIStatusError) as large:
        tiny.completions.create(model="tiny", prompt="x" * (20 * 2**20))
    assert large.value.status_code == 413


def test_a_stream_that_is_left(tiny: openai.OpenAI) -> None:
    stream = tiny.completions.create(model="tiny", prompt="hello", max_tokens=4000, stream=True)
    next(iter(stream))
    stream.close()
    answer = tiny.completions.create(model="tiny", prompt="hello", max_tokens=1)
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.timeout(180)
def test_the_demo_model(demo_bundle: Path) -> None:
    """The same tokens over HTTP, streamed and whole, as on the command line."""
    with ServerProcess(demo_bundle) as server, client_of(server) as client:
        (model,) = client.models.list()
        whole = client.completions.create(
            model=model.id, prompt=PROMPT, max_tokens=16, temperature=0
        )
        pieces = client.completions.create(
            model=model.id, prompt=PROMPT, max_tokens=16, temperature=0, stream=True
        )
        streamed = "".join(chunk.choices[0].text for chunk in pieces)
        chat = client.chat.completions.create(
            model=model.id, messages=MESSAGES, max_tokens=4, temperature=0
        )
        talk = client.chat.completions.create(
            model=model.id, messages=MESSAGES, max_tokens=4, temperature=0, stream=True
        )
        spoken = "".join(chunk.choices[0].delta.content or "" for chunk in talk)
    command = [sys.executable, "-m", "mlr", "run", str(demo_bundle), PROMPT, "--max-tokens", "16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert whole.choices[0].text == streamed == done.stdout.removesuffix("\n")
    assert chat.choices[0].message.content == spoken
