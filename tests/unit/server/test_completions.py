"""`POST /v1/completions`."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from mlr.server import limits
from tests.unit.server.fakes import CONTEXT, LiveServer


def post(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/completions", json={"model": "fake", "prompt": "abc", **body})


def events(text: str) -> list[Any]:
    """The JSON of each event of a stream, which must end as OpenAI's do."""
    blocks = text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks[:-2])
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


def test_a_completion(client: httpx.Client) -> None:
    answer = post(client, max_tokens=4)
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("id").startswith("cmpl-")
    assert isinstance(body.pop("created"), int)
    assert body.pop("system_fingerprint").startswith("mlr-")
    assert body == {
        "object": "text_completion",
        "model": "fake",
        "choices": [{"index": 0, "text": "4 one two", "logprobs": None, "finish_reason": "length"}],
        "usage": {
            "prompt_tokens": 4,
            "completion_tokens": 4,
            "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_a_stream(client: httpx.Client) -> None:
    answer = post(client, max_tokens=20, stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    chunks = events(answer.text)
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice["text"] for choice in choices] == ["4", " one", " two", " three", ""]
    assert [choice["finish_reason"] for choice in choices] == [None] * 4 + ["stop"]


def test_a_stream_with_usage(client: httpx.Client) -> None:
    answer = post(client, max_tokens=2, stream=True, stream_options={"include_usage": True})
    *chunks, last = events(answer.text)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 4,
        "completion_tokens": 2,
        "total_tokens": 6,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("ab", [[2, 97, 98]]),
        (["ab", "c"], [[2, 97, 98], [2, 99]]),
        ([97, 98], [[97, 98]]),
        ([[97], [98, 99]], [[97], [98, 99]]),
    ],
)
def test_every_form_of_prompt(
    live: LiveServer, client: httpx.Client, prompt: object, expected: list[list[int]]
) -> None:
    body = post(client, prompt=prompt, max_tokens=1).json()
    assert live.model.prompts == expected
    assert [choice["text"] for choice in body["choices"]] == [str(len(item)) for item in expected]
    assert [choice["index"] for choice in body["choices"]] == list(range(len(expected)))
    assert body["usage"]["prompt_tokens"] == sum(map(len, expected))


def test_several_prompts_in_a_stream(client: httpx.Client) -> None:
    answer = post(client, prompt=["a", "bc"], max_tokens=1, stream=True)
    choices = [chunk["choices"][0] for chunk in events(answer.text)]
    assert [(item["index"], item["text"], item["finish_reason"]) for item in choices] == [
        (0, "2", None),
        (0, "", "length"),
        (1, "3", None),
        (1, "", "length"),
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("prompt", ["ab", [97, 98]])
def test_echo(client: httpx.Client, prompt: object, stream: bool) -> None:
    answer = post(client, prompt=prompt, max_tokens=1, echo=True, stream=stream)
    if stream:
        text = "".join(chunk["choices"][0]["text"] for chunk in events(answer.text))
    else:
        text = answer.json()["choices"][0]["text"]
    assert text in ("ab3", "ab2")
    assert text.startswith("ab")


def test_parameters_reach_the_model(live: LiveServer, client: httpx.Client) -> None:
    post(
        client,
        max_tokens=3,
        temperature=0.5,
        top_p=0.75,
        top_k=5,
        min_p=0.125,
        repeat_penalty=1.5,
        frequency_penalty=0.25,
        presence_penalty=-1,
        logprobs=0,
        response_format={"type": "json_object"},
        seed=-1,
        stop=["x", "y"],
    )
    assert live.model.options == [
        {
            "max_tokens": 3,
            "stop": ["x", "y"],
            "temperature": 0.5,
            "top_p": 0.75,
            "top_k": 5,
            "min_p": 0.125,
            "repeat_penalty": 1.5,
            "frequency_penalty": 0.25,
            "presence_penalty": -1,
            "logprobs": 0,
            "response_format": {"type": "json_object"},
            "seed": 2**64 - 1,
        }
    ]


def test_defaults_are_openai_s(live: LiveServer, client: httpx.Client) -> None:
    post(client, stop=None)
    assert live.model.options == [
        {
            "max_tokens": 16,
            "stop": [],
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "logprobs": None,
            "response_format": None,
            "seed": None,
        }
    ]


def test_max_tokens_ends_where_the_context_does(live: LiveServer, client: httpx.Client) -> None:
    for length, expected in ((CONTEXT - 3, 4), (CONTEXT - 1, 2), (CONTEXT, 1)):
        prompt = [97] * length
        body = post(client, prompt=prompt, max_tokens=2**24).json()
        assert body["usage"]["completion_tokens"] == expected
        assert body["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_over_the_context(client: httpx.Client, stream: bool) -> None:
    answer = post(client, prompt="a" * CONTEXT, stream=stream)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["type"] == "invalid_request_error"
    assert error["param"] == "prompt"
    assert str(CONTEXT) in error["message"]
    assert str(CONTEXT + 1) in error["message"]


def test_a_prompt_far_over_the_context_is_not_tokenized(
    live: LiveServer, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.model, "tokenize", None)
    answer = post(client, prompt="a" * (CONTEXT * limits.MAX_CHARACTERS_PER_TOKEN + 1))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("tokens", [[-1], [0x110000], [2**63], [0, 10**30]])
def test_tokens_that_the_model_does_not_have(client: httpx.Client, tokens: list[int]) -> None:
    answer = post(client, prompt=tokens)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt"
    assert str(tokens[-1]) in answer.json()["error"]["message"]


def test_an_unknown_model(client: httpx.Client) -> None:
    answer = post(client, model="gpt-4")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
    assert "'gpt-4'" in error["message"]
    assert "fake" in error["message"]


def test_an_engine_that_breaks(live: LiveServer, client: httpx.Client) -> None:
    live.model.fail_at = 2
    answer = post(client)
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "message": "the engine stopped: unreachable",
        "type": "server_error",
        "param": None,
        "code": "engine_error",
    }


def test_an_engine_that_breaks_in_a_stream(live: LiveServer, client: httpx.Client) -> None:
    live.model.fail_at = 2
    answer = post(client, stream=True)
    assert answer.status_code == 200
    *_, last, end = answer.text.split("\n\n")
    assert end == ""
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_error"
    assert "[DONE]" not in answer.text


def test_a_bug_is_not_described(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> list[int]:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(live.model, "tokenize", broken)
    with live.client() as client:  # its connection is closed
        answer = post(client)
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "secret" not in answer.text
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
