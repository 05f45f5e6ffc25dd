"""`mlr serve` as a process: the port, signals, what it prints."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.server.served import ServerProcess, serve_command


def fails(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(serve_command(*arguments), capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.returncode, done.stderr


def test_nobody_reads_where_it_listens(tiny_bundle: Path) -> None:
    """Which is no trouble with the port."""
    reading, writing = os.pipe()
    os.close(reading)
    command = serve_command(tiny_bundle, "--port", "0")
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_it_and_its_streams(
    tiny_bundle: Path, number: signal.Signals, status: int
) -> None:
    body = {
        "model": "tiny",
        "prompt": "hello",
        "max_tokens": 8000,
        "stream": True,
        "temperature": 0,
    }
    seen: list[str] = []
    with ServerProcess(tiny_bundle, "--context-length", "8192") as server:

        def read() -> None:
            with (
                server.client() as client,
                client.stream("POST", "/v1/completions", json=body) as answer,
            ):
                seen.extend(answer.iter_lines())

        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.5)
        started = time.monotonic()
        returned, err = server.stop(number)
        took = time.monotonic() - started
        reader.join(10)
    assert not reader.is_alive()
    assert (returned, "Traceback" in err) == (status, False)
    assert took < 5
    assert "server_stopping" in seen[-2]
    assert seen[0].startswith("data: {")


def test_what_it_prints(tiny_bundle: Path) -> None:
    with ServerProcess(tiny_bundle) as server:
        assert server.greeting == (
            f"Serving tiny\nPlayground: {server.url}/\nAPI: {server.url}/v1\n"
        )
        assert server.url.startswith("http://127.0.0.1:")
        with server.client() as client:
            assert client.get("/health").json()["status"] == "ok"
        _, err = server.stop(signal.SIGTERM)
    assert '"GET /health HTTP/1.1" 200' in err
    assert "warning" not in err


def test_a_port_in_use(tiny_bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        status, err = fails(tiny_bundle, "--port", port)
    assert status == 2
    assert err.startswith(f"mlr: error: cannot listen on 127.0.0.1 port {port}: Address already")
    assert "--port" in err


def test_a_host_that_is_not_there(tiny_bundle: Path) -> None:
    assert fails(tiny_bundle, "--host", "nowhere.invalid")[0] == 2
    assert fails(tiny_bundle, "--host", "192.0.2.1")[0] == 2  # an address for documentation


def test_no_bundle(tmp_path: Path) -> None:
    status, err = fails(tmp_path / "nothing")
    assert status == 3
    assert "nothing" in err


def test_two_of_one_name(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    status, err = fails(tiny_bundle, copy, "--port", "0")
    assert status == 2
    assert "'tiny'" in err


def test_what_does_not_suit_one_of_several_bundles(tiny_bundle: Path, bert_bundle: Path) -> None:
    status, err = fails(tiny_bundle, bert_bundle, "--context-length", "8192", "--port", "0")
    name = json.loads((bert_bundle / "manifest.json").read_bytes())["name"]
    assert status == 2
    assert f"{name}: context_length must be between 1 and the model's " in err


def test_beyond_this_machine_it_warns(tiny_bundle: Path) -> None:
    with ServerProcess(tiny_bundle, "--host", "0.0.0.0") as server:
        assert server.url.startswith("http://localhost:")
        port = server.url.rpartition(":")[2]
        with server.client() as client:
            url = f"http://127.0.0.1:{port}/health"
            assert client.get(url, headers={"host": "models.example"}).status_code == 200
        _, err = server.stop(signal.SIGTERM)
    assert err.startswith("mlr: warning: listening on 0.0.0.0 without authentication")


def test_ipv6(tiny_bundle: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with ServerProcess(tiny_bundle, "--host", "::1") as server, server.client() as client:
        assert server.url.startswith("http://[::1]:")
        assert client.get("/health").status_code == 200


def test_a_client_that_leaves_frees_the_engine(tiny_bundle: Path) -> None:
    """With the real engine: the next request does not wait for the rest of the abandoned one."""
    slow: dict[str, Any] = {"model": "tiny", "prompt": "hello", "max_tokens": 8000, "stream": True}
    with (
        ServerProcess(tiny_bundle, "--context-length", "8192") as server,
        server.client() as client,
    ):
        with client.stream("POST", "/v1/completions", json=slow | {"temperature": 0}) as answer:
            next(answer.iter_lines())
        started = time.monotonic()
        quick = {"model": "tiny", "prompt": "hello", "max_tokens": 1}
        assert client.post("/v1/completions", json=quick).status_code == 200
        assert time.monotonic() - started < 3  # the abandoned one takes longer
        models = client.get("/health").json()["models"]
        assert models[0]["requests"] == 0


def test_a_served_bundle_can_be_run_and_served_from_its_url(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLR_CACHE", str(tmp_path))
    request = {"model": "tiny", "prompt": "hello", "max_tokens": 9, "temperature": 0}
    with ServerProcess(tiny_bundle) as first:
        location = f"{first.url}/bundles/tiny/"
        with first.client() as client:
            text = client.post("/v1/completions", json=request).json()["choices"][0]["text"]
        command = [sys.executable, "-m", "mlr", "run", location, "hello", "--max-tokens", "9"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == text + "\n"
        with ServerProcess(location) as second, second.client() as client:
            answer = client.post("/v1/completions", json=request).json()
            assert answer["choices"][0]["text"] == text
            (listed,) = client.get("/bundles.json").json()
            manifest = client.get(listed["url"] + "manifest.json").json()
            shard = manifest["variants"][0]["shards"][0]
            data = client.get(listed["url"] + shard["file"]).content
            assert hashlib.sha256(data).hexdigest() == shard["sha256"]
