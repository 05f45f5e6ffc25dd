"""Requests that are wrong, in every way: the answer names what is wrong, and nothing runs."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from mlr.server import limits
from mlr.server.errors import ApiError
from tests.unit.server.fakes import LiveServer

JSON = {"content-type": "application/json"}
BOTH: dict[str, dict[str, Any]] = {
    "/v1/completions": {"model": "fake", "prompt": "abc"},
    "/v1/chat/completions": {"model": "fake", "messages": [{"role": "user", "content": "abc"}]},
}


def error_of(answer: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 1.5),
        ("max_tokens", "5"),
        ("max_tokens", True),
        ("max_tokens", 10**400),
        ("max_tokens", limits.MAX_TOKENS + 1),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("temperature", True),
        ("temperature", 1e308),
        ("top_p", -0.1),
        ("top_p", 1.1),
        ("top_k", -1),
        ("top_k", 2**31),
        ("min_p", 2),
        ("repeat_penalty", 0),
        ("repeat_penalty", 101),
        ("seed", 2**63),
        ("seed", -(2**63) - 1),
        ("seed", 0.5),
        ("stop", ""),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", [1]),
        ("stop", "x" * (limits.MAX_STOP_LENGTH + 1)),
        ("stream", "yes"),
        ("stream", 1),
        ("stream_options", []),
        ("model", None),
        ("model", 5),
        ("n", 2),
        ("n", 0),
        ("logprobs", 21),
        ("logprobs", "yes"),
        ("top_logprobs", 5),
        ("top_logprobs", -1),
        ("best_of", 3),
        ("presence_penalty", 2.5),
        ("frequency_penalty", -2.1),
        ("logit_bias", {"5": 10}),
        ("suffix", "end"),
        ("tools", [{"type": "function"}]),
        ("response_format", "json"),
        ("no_such_parameter", 1),
        ("temprature", 1),
    ],
)
def test_a_wrong_value(client: httpx.Client, path: str, name: str, value: object) -> None:
    error = error_of(client.post(path, json={**BOTH[path], name: value}))
    assert error["param"].startswith(name)
    assert name in error["message"]


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000])
def test_numbers_that_are_none(client: httpx.Client, path: str, text: str) -> None:
    body = json.dumps({**BOTH[path], "temperature": "HERE"}).replace('"HERE"', text)
    error_of(client.post(path, content=body, headers=JSON))


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    "values",
    [
        {"user": "someone", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}},
        {"logprobs": None, "best_of": None, "suffix": None, "stop": None, "seed": None},
        {"temperature": None, "top_p": None, "max_tokens": None, "stream": None},
        {"logprobs": False, "top_logprobs": 0, "tools": [], "response_format": {"type": "text"}},
        {"temperature": 1, "top_p": 1, "stream": False, "stream_options": None},
    ],
)
def test_what_clients_send_without_harm(
    client: httpx.Client, path: str, values: dict[str, Any]
) -> None:
    assert client.post(path, json={**BOTH[path], **values}).status_code == 200


@pytest.mark.parametrize("path", BOTH)
def test_stream_options_without_a_stream(client: httpx.Client, path: str) -> None:
    body = {**BOTH[path], "stream_options": {"include_usage": True}}
    assert error_of(client.post(path, json=body))["param"] == "stream_options"


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"5",
        b"true",
        b"{'model': 'fake'}",
        b'{"model": "fake",}',
        b'{"model": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 50 + b"]" * 50 + b"}",
        b"model=fake&prompt=abc",
    ],
)
def test_a_body_that_is_no_request(client: httpx.Client, path: str, content: bytes) -> None:
    error_of(client.post(path, content=content, headers=JSON))


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize("missing", ["model", "prompt", "messages"])
def test_a_missing_parameter(client: httpx.Client, path: str, missing: str) -> None:
    if missing in BOTH[path]:
        body = {name: value for name, value in BOTH[path].items() if name != missing}
        error = error_of(client.post(path, json=body))
        assert error["param"] == missing
        assert error["code"] == "missing_required_parameter"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type(client: httpx.Client, content_type: str) -> None:
    body = json.dumps(BOTH["/v1/completions"])
    answer = client.post("/v1/completions", content=body, headers={"content-type": content_type})
    assert "application/json" in error_of(answer, 415)["message"]


def test_json_with_a_charset_is_json(client: httpx.Client) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    body = json.dumps(BOTH["/v1/completions"])
    assert client.post("/v1/completions", content=body, headers=headers).status_code == 200


def test_a_body_declared_too_large_is_not_read(live: LiveServer) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        head = (
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {limits.MAX_BODY + 1}\r\n\r\n"
        )
        connection.sendall(head.encode())  # and none of the body
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_turns_out_too_large(client: httpx.Client) -> None:
    def pieces() -> Any:
        for _ in range(limits.MAX_BODY // 65536 + 1):
            yield b" " * 65536

    answer = client.post("/v1/completions", content=pieces(), headers=JSON)
    assert error_of(answer, 413)["code"] == "request_too_large"


def test_a_body_that_does_not_arrive(live: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(limits, "BODY_TIMEOUT", 0.2)
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        5,
        {},
        [],
        "\ud800",
        ["a", 5],
        ["a", None],
        [[]],
        [[1], []],
        [1.5],
        [True],
        [[True]],
        [["a"]],
        ["a"] * (limits.MAX_PROMPTS + 1),
    ],
)
def test_a_wrong_prompt(client: httpx.Client, prompt: object) -> None:
    body = json.dumps({"model": "fake", "prompt": prompt})
    error = error_of(client.post("/v1/completions", content=body, headers=JSON))
    assert error["param"] == "prompt"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hello", "messages"),
        (None, "messages"),
        ([5], "messages[0]"),
        ([{}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "wizard", "content": "a"}], "messages[0].role"),
        ([{"role": "tool", "content": "a"}], "messages[0].tool_call_id"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": "\ud800"}], "messages[0].content"),
        ([{"role": "user", "content": [5]}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content"),
        ([{"role": "user", "content": "a", "mood": "good"}], "messages[0].mood"),
        (
            [{"role": "assistant", "content": "a", "tool_calls": [{}]}],
            "messages[0].tool_calls[0].id",
        ),
        ([{"role": "user", "content": "a"}] * (limits.MAX_MESSAGES + 1), "messages"),
    ],
)
def test_wrong_messages(client: httpx.Client, messages: object, param: str) -> None:
    body = json.dumps({"model": "fake", "messages": messages})
    error = error_of(client.post("/v1/chat/completions", content=body, headers=JSON))
    assert error["param"] == param


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/completions", 405),
        ("PUT", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/models/nothing", 404),
        ("POST", "/v1/moderations", 404),
    ],
)
def test_paths_and_methods_there_are_not(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    error_of(client.request(method, path), status)


def test_nothing_ran(live: LiveServer, client: httpx.Client) -> None:
    client.post("/v1/completions", json={**BOTH["/v1/completions"], "n": 2})
    client.post("/v1/chat/completions", json={**BOTH["/v1/chat/completions"], "x": 2})
    assert live.model.prompts == []
    assert live.served.turns.admitted == 0


def test_a_bug_is_not_described_and_ends_the_connection(
    live: LiveServer, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    body = {"model": "fake", "prompt": "a", "max_tokens": 1}
    with monkeypatch.context() as patch:
        patch.setattr(live.model, "tokenize", fail)
        response = client.post("/v1/completions", json=body)
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["connection"] == "close"
    assert client.post("/v1/completions", json=body).status_code == 200


def test_an_error_may_quote_half_of_a_surrogate_pair() -> None:
    answer = ApiError(400, "no field \ud800", param="\udfff").response()
    error = json.loads(bytes(answer.body))["error"]
    assert (error["message"], error["param"]) == ("no field \\ud800", "\\udfff")
