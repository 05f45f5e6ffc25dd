"""`POST /v1/chat/completions`."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.unit.server.fakes import CONTEXT, LiveServer

PATH = "/v1/chat/completions"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def post(client: httpx.Client, *messages: dict[str, Any], **body: Any) -> httpx.Response:
    sent = list(messages) or [{"role": "user", "content": "hi"}]
    return client.post(PATH, json={"model": "fake", "messages": sent, **body})


def prompt_of(live: LiveServer) -> str:
    (prompt,) = live.model.prompts
    return "".join(map(chr, prompt))


def test_an_answer(client: httpx.Client) -> None:
    body = post(client, max_tokens=4).json()
    assert body.pop("id").startswith("chatcmpl-")
    assert isinstance(body.pop("created"), int)
    assert body.pop("system_fingerprint").startswith("mlr-")
    usage = body.pop("usage")
    assert usage["completion_tokens"] == 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + 4
    assert body == {
        "object": "chat.completion",
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": f"{usage['prompt_tokens']} one two",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
    }


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream(client: httpx.Client, usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    text = post(client, max_tokens=20, stream=True, **options).text
    blocks = text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    if usage:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == 5
        assert all(chunk["usage"] is None for chunk in chunks)
    first, *middle, end = [chunk["choices"][0] for chunk in chunks]
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert [choice["delta"] for choice in middle[1:]] == [
        {"content": " one"},
        {"content": " two"},
        {"content": " three"},
    ]
    assert end["delta"] == {}
    assert end["finish_reason"] == "stop"
    assert all(choice["finish_reason"] is None for choice in [first, *middle])


def test_the_template_writes_the_prompt(live: LiveServer, client: httpx.Client) -> None:
    live.model.chat_template = TEMPLATE
    post(
        client,
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "text", "text": "v"}]},
        {"role": "assistant", "content": "a", "refusal": None, "tool_calls": None},
        {"role": "user", "content": "w", "name": "someone"},
    )
    # It begins the sequence itself, so nothing is added in front.
    assert prompt_of(live) == "<2>[system]s[system]d[user]uv[assistant]a[user]w[assistant]"


def test_without_a_template_it_is_a_transcript(live: LiveServer, client: httpx.Client) -> None:
    post(client, {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"})
    prompt = prompt_of(live)
    assert prompt.startswith("\x02")  # the model's begin token
    assert prompt.index("Be brief.") < prompt.index("hi")
    assert prompt.rstrip().endswith(":")


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('roles must alternate') }}", "{% for %}", "{{ messages[0].no.such }}"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_template_that_fails(
    live: LiveServer, client: httpx.Client, template: str, stream: bool
) -> None:
    live.model.chat_template = template
    answer = post(client, stream=stream)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "chat_template_error"


def test_nothing_but_the_context_limits_an_answer(live: LiveServer, client: httpx.Client) -> None:
    live.model.chat_template = TEMPLATE
    body = post(client).json()
    assert body["usage"]["total_tokens"] == CONTEXT + 1
    assert body["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_max_tokens(live: LiveServer, client: httpx.Client, name: str) -> None:
    post(client, **{name: 3})
    assert live.model.options[0]["max_tokens"] == 3
    assert post(client, max_tokens=3, max_completion_tokens=3).status_code == 400


def test_a_chat_over_the_context(client: httpx.Client) -> None:
    answer = post(client, {"role": "user", "content": "a" * CONTEXT})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert answer.json()["error"]["param"] == "messages"
