"""`mlr serve --parallel`: several requests at once, on a real model."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.unit.server.served import ServerProcess

LONG = {"model": "tiny", "prompt": [1, 2, 3], "max_tokens": 6000, "temperature": 2, "seed": 3}


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Any:
    with ServerProcess(
        tiny_bundle, "--parallel", "2", "--threads", "1", "--kv-type", "q8"
    ) as process:
        yield process


def test_a_short_request_does_not_wait_for_a_long_one(server: ServerProcess) -> None:
    with (
        server.client() as client,
        client.stream("POST", "/v1/completions", json=LONG | {"stream": True}) as long,
    ):
        lines = long.iter_lines()
        next(lines)
        start = time.monotonic()
        short = client.post("/v1/completions", json=LONG | {"max_tokens": 3})
        assert short.status_code == 200
        assert time.monotonic() - start < 5
        assert next(line for line in lines if line).startswith("data: {"), "it is still going on"


def test_requests_together_are_answered_as_each_alone(server: ServerProcess) -> None:
    bodies = [
        {"model": "tiny", "prompt": [1, n, 7], "max_tokens": 20, "temperature": 0}
        for n in range(3, 11)
    ]

    def ask(body: dict[str, Any]) -> str:
        with server.client() as client:
            answer: str = client.post("/v1/completions", json=body).json()["choices"][0]["text"]
            return answer

    alone = [ask(body) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, bodies)) == alone


def test_the_usage_says_what_was_cached(server: ServerProcess) -> None:
    body = {"model": "tiny", "prompt": [1, *range(30, 130)], "max_tokens": 2, "temperature": 0}
    with server.client() as client:
        usages = [client.post("/v1/completions", json=body).json()["usage"] for _ in range(2)]
        assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages] == [0, 100]
        stream = client.post(
            "/v1/completions",
            json=body | {"stream": True, "stream_options": {"include_usage": True}},
        )
        events = [line[6:] for line in stream.text.splitlines() if line.startswith("data: {")]
        last = json.loads(events[-1])["usage"]
        assert last["prompt_tokens_details"] == {"cached_tokens": 100}
