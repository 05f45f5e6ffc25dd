"""The small server of `edge/wasmtime`, as a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import mlr
from mlr_build.cli import main as mlr_build
from tests.conftest import ROOT
from tests.support.tiny_bert import tiny_bert
from tests.support.tiny_models import tiny_gguf
from tests.unit.server.test_recovery import sabotage

SERVER = ROOT / "edge" / "wasmtime" / "server.py"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama."""
    folder = tmp_path_factory.mktemp("wasmtime")
    source = tiny_gguf(folder / "tiny.gguf")
    assert mlr_build(["package", str(source), "--out", str(folder / "b"), "--name", "tiny"]) == 0
    return folder / "b"


@contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """The address of a server of a bundle."""
    command = [sys.executable, str(SERVER), str(bundle), "--port", "0", "--threads", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[str]:
    """The address of the tiny Llama's server."""
    with serving(bundle) as url:
        yield url


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "server.py: nowhere: is not a bundle"),
        (["BUNDLE", "--port", "70000"], "server.py: bind(): port must be 0-65535."),
        (["BUNDLE", "--threads", "0"], "server.py: threads must be between 1 and 64"),
    ],
)
def test_what_is_wrong_at_the_start_is_one_line(
    bundle: Path, arguments: list[str], message: str
) -> None:
    given = [str(bundle) if one == "BUNDLE" else one for one in arguments]
    command = [sys.executable, str(SERVER), *given]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def ask(url: str, body: Any = None) -> Any:
    """The answer's JSON, or its lines when it is a stream."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as response:
        content = response.read()
        if response.headers["content-type"] == "text/event-stream":
            return [line.removeprefix("data: ") for line in content.decode().split("\n\n") if line]
        return json.loads(content)


def test_completions_whole_and_streamed(server: str, bundle: Path) -> None:
    with mlr.load_sync(bundle) as model:
        expected = model.generate("hello", max_tokens=12)
    assert ask(f"{server}/models")["data"][0]["id"] == "tiny"
    whole = ask(f"{server}/completions", {"prompt": "hello", "max_tokens": 12})
    assert whole["choices"][0]["text"] == expected.text
    assert whole["choices"][0]["finish_reason"] == expected.finish_reason
    assert whole["usage"]["completion_tokens"] == len(expected.token_ids)
    lines = ask(f"{server}/completions", {"prompt": "hello", "max_tokens": 12, "stream": True})
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line)["choices"][0] for line in lines]
    assert "".join(chunk["text"] for chunk in chunks) == expected.text
    assert [chunk["finish_reason"] for chunk in chunks][-1] == expected.finish_reason


def test_embeddings(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    assert mlr_build(["package", str(folder), "--out", str(tmp_path / "b")]) == 0
    texts = ["The cat sat on a mat.", "dogs running"]
    with mlr.load_sync(tmp_path / "b") as model:
        expected = model.embed(texts)
    with serving(tmp_path / "b") as url:
        answer = ask(f"{url}/embeddings", {"input": texts})
    assert [entry["embedding"] for entry in answer["data"]] == expected.vectors
    assert answer["usage"]["total_tokens"] == expected.tokens


@pytest.mark.parametrize(
    ("path", "body", "part"),
    [
        ("/completions", {"prompt": "x", "max_tokens": 0}, "max_tokens"),
        ("/completions", {"prompt": "x", "max_tokens": 0, "stream": True}, "max_tokens"),
        ("/completions", {}, "prompt"),
        ("/completions", [], "JSON object"),
        ("/embeddings", {"input": 7}, "input"),
        ("/chat", {}, "no such page"),
    ],
)
def test_wrong_requests(server: str, path: str, body: Any, part: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server + path, body)
    with caught.value as error:
        assert error.code in (400, 404)
        assert part in json.loads(error.read())["error"]["message"]


def test_a_body_that_is_nested_without_end(server: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server}/completions", b"[" * 100_000, timeout=60)
    with caught.value as error:
        assert error.code == 400


def test_a_client_that_leaves_does_not_keep_the_model(server: str) -> None:
    body = json.dumps({"prompt": "hello", "max_tokens": 400, "stream": True}).encode()
    with urllib.request.urlopen(f"{server}/completions", body, timeout=60) as response:
        assert response.readline().startswith(b"data: ")
    done = ask(f"{server}/completions", {"prompt": "hello", "max_tokens": 2})
    assert done["usage"]["completion_tokens"] == 2


def test_an_engine_that_fails(bundle: Path) -> None:
    """It is no fault of the request, and in a stream that has begun it is its last event."""
    spec = importlib.util.spec_from_file_location("wasmtime_server", SERVER)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    handler = program.Handler
    handler.loop = program.Loop()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1/completions"
        body = {"prompt": "hello", "max_tokens": 500, "stream": True}
        handler.model = handler.loop.wait(mlr.load(bundle))
        request = urllib.request.Request(url, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.readline().startswith(b"data: ")
            sabotage(handler.model)
            last = response.read().decode().strip().split("\n\n")[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(url, {"prompt": "hello", "max_tokens": 2})
        with caught.value as error:
            assert error.code == 500
        handler.loop.wait(handler.model.close())
        server.shutdown()
