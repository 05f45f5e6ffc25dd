"""Queueing, leaving and stopping: over a real socket, with generations that take their time."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from mlr.server import limits
from mlr.server.turns import Turns
from tests.unit.server.fakes import FakeModel, LiveServer, wait_until

PATH = "/v1/completions"


def request(**values: Any) -> dict[str, Any]:
    return {"model": "fake", "prompt": "a", **values}


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_engine(live: LiveServer, stream: bool) -> None:
    live.model.delay = 0.02
    body = request(max_tokens=900, stream=stream)  # 18 seconds
    with live.client() as client:
        if stream:
            with client.stream("POST", PATH, json=body) as answer:
                next(answer.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(PATH, json=body, timeout=httpx.Timeout(20, read=0.3))
    wait_until(lambda: live.model.running == 0)
    wait_until(lambda: live.served.turns.admitted == 0)
    assert live.model.closed_early == 1
    live.model.delay = 0
    with live.client() as client:  # and the next one has it at once
        assert client.post(PATH, json=request(max_tokens=1)).status_code == 200


def test_a_client_that_stops_reading_frees_the_engine(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.3)
    # more than the buffers on the way hold, since echo gives the prompts back
    monkeypatch.setattr(live.model.info, "context_length", 60_010)
    prompt = "a" * 60_000
    body = json.dumps(request(prompt=[prompt] * 64, stream=True, echo=True, max_tokens=1)).encode()
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", live.port))
        lazy.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        wait_until(lambda: live.served.turns.admitted == 1)
        wait_until(lambda: live.served.turns.admitted == 0)
        with live.client() as client:
            assert client.post(PATH, json=request(max_tokens=1)).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: local"])
def test_a_request_whose_head_does_not_arrive(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT", 0.3)
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as slow:
        slow.sendall(sent)
        assert slow.recv(100) == b""


def test_a_client_that_leaves_the_queue_gives_up_its_place(live: LiveServer) -> None:
    live.model.delay = 0.05
    with ThreadPoolExecutor() as pool, live.client() as client:
        first = pool.submit(client.post, PATH, json=request(max_tokens=20, prompt="1"))
        wait_until(lambda: live.model.running == 1)
        with pytest.raises(httpx.ReadTimeout):
            client.post(PATH, json=request(prompt="22"), timeout=httpx.Timeout(20, read=0.1))
        assert first.result().status_code == 200
    wait_until(lambda: live.served.turns.admitted == 0)
    assert len(live.model.prompts) == 1  # the second never ran


def test_a_full_queue_refuses(live: LiveServer) -> None:
    live.model.delay = 0.05
    with ThreadPoolExecutor() as pool, live.client() as client:
        answers = [
            pool.submit(client.post, PATH, json=request(max_tokens=5, stream=index == 0))
            for index in range(3)
        ]
        wait_until(lambda: live.served.turns.admitted == 3)
        for stream in (False, True):
            refused = client.post(PATH, json=request(stream=stream))
            assert refused.status_code == 503
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert refused.json()["error"]["code"] == "overloaded"
            assert refused.json()["error"]["type"] == "server_error"
        assert [answer.result().status_code for answer in answers] == [200] * 3


def test_a_request_with_many_prompts_lets_others_in(live: LiveServer) -> None:
    live.model.delay = 0.02
    with ThreadPoolExecutor() as pool, live.client() as client:
        many = pool.submit(client.post, PATH, json=request(prompt=["1"] * 20, max_tokens=5))
        wait_until(lambda: live.model.running == 1)
        assert client.post(PATH, json=request(prompt="22", max_tokens=1)).status_code == 200
        assert not many.done()
        assert many.result().status_code == 200
    order = [len(prompt) for prompt in live.model.prompts]
    assert order.index(3) < 15


def test_turns_come_in_the_order_of_asking(live: LiveServer) -> None:
    live.model.delay = 0.05
    prompts = ["1", "22", "333"]
    with ThreadPoolExecutor() as pool, live.client() as client:
        answers = []
        for count, prompt in enumerate(prompts):
            body = request(prompt=prompt, max_tokens=4)
            answers.append(pool.submit(client.post, PATH, json=body))
            wait_until(lambda count=count: live.served.turns.admitted > count)
        assert all(answer.result().status_code == 200 for answer in answers)
    assert [len(prompt) for prompt in live.model.prompts] == [2, 3, 4]


def test_tokens_are_sent_as_they_come(live: LiveServer) -> None:
    live.model.delay = 0.1
    body = request(max_tokens=4, stream=True)
    with live.client() as client, client.stream("POST", PATH, json=body) as answer:
        times = [time.monotonic() for line in answer.iter_lines() if line.startswith("data: {")]
    assert times[-1] - times[0] > 0.1


def test_stopping_ends_streams_and_refuses_the_rest() -> None:
    """The server's own stop: the stream gets an error event, whoever waits gets 503."""
    answers: list[httpx.Response] = []
    with LiveServer(FakeModel(delay=0.02)) as server, server.client() as client:
        threads = [
            threading.Thread(
                target=lambda stream=stream: answers.append(
                    client.post(PATH, json=request(max_tokens=900, stream=stream))
                )
            )
            for stream in (True, False)
        ]
        for count, thread in enumerate(threads):
            thread.start()
            wait_until(lambda count=count: server.served.turns.admitted > count)
        started = time.monotonic()
        server.call(server.work.stop)
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 5  # of 18 seconds
        late = client.post(PATH, json=request())
        assert server.served.turns.admitted == 0
    stream, waiting = sorted(answers, key=lambda answer: answer.status_code)
    assert stream.status_code == 200
    last = stream.text.strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "server_stopping"
    for answer in (waiting, late):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "server_stopping"


def test_retry_after_follows_how_long_turns_take() -> None:
    import asyncio

    now = 0.0

    async def scenario(seconds: float, count: int) -> int:
        nonlocal now
        turns = Turns(clock=lambda: now)
        for _ in range(count):
            async with turns.turn():
                now += seconds
        return turns.retry_after()

    assert asyncio.run(scenario(0.001, 50)) == 1
    assert 18 <= asyncio.run(scenario(20, 50)) <= 20
    assert asyncio.run(scenario(1000, 50)) == 60


def test_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 3)
    with LiveServer(FakeModel()) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        with server.client() as client:
            assert client.get("/health").status_code == 503
        for connection in idle:
            connection.close()
        with server.client() as client:
            wait_until(lambda: client.get("/health").status_code == 200)
