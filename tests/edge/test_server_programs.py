"""The entry programs of Node.js and Deno: what is wrong with how they are called is one line."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.edge.hosts import terminal
from tests.edge.serving import serve, server_program
from tests.support.bundles import package as package_bundle

PROGRAMS = ["node 20", "deno"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama."""
    return package_bundle(tmp_path_factory.mktemp("tiny"), n_layers=1)


def complaint(host: str, package: Path, *arguments: str | Path) -> str:
    """What a program says when it ends at once."""
    with server_program(host, package) as program:
        done = subprocess.run(
            [*terminal(host), str(program), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=program.parent,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("host", PROGRAMS)
def test_wrong_arguments(host: str, package: Path, hosts: Path, bundle: Path) -> None:
    assert "usage: " in complaint(host, package)
    assert "Unknown option '--speed'" in complaint(host, package, bundle, "--speed")
    line = complaint(host, package, bundle, "--threads", "0")
    assert line == "server.mjs: threads must be from 1 to 64, got 0"


@pytest.mark.parametrize("host", PROGRAMS)
def test_a_bundle_that_is_not_there(host: str, package: Path, hosts: Path, tmp_path: Path) -> None:
    assert "/nothing/manifest.json: " in complaint(host, package, tmp_path / "nothing")


@pytest.mark.parametrize("host", PROGRAMS)
def test_a_port_in_use(host: str, package: Path, hosts: Path, bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        assert "ddress already in use" in complaint(host, package, bundle, "--port", port)


@pytest.mark.parametrize("host", PROGRAMS)
def test_answers_are_all_that_is_said(
    host: str, package: Path, hosts: Path, bundle: Path, tmp_path: Path
) -> None:
    """No warnings of the host: after an answer, a stream, and a client that has left."""
    body = {"model": "tiny", "prompt": "a", "max_tokens": 20}
    with (
        (tmp_path / "errors").open("w+", encoding="utf-8") as errors,
        httpx.Client(timeout=60) as client,
    ):
        with serve(host, bundle, package, 192, errors) as url:
            for stream in (False, True):
                asked = body | {"stream": stream}
                assert client.post(f"{url}/v1/completions", json=asked).status_code == 200
            with client.stream("POST", f"{url}/v1/completions", json=asked) as response:
                next(response.iter_lines())
            assert client.post(f"{url}/v1/completions", json=body).status_code == 200
        errors.seek(0)
        assert errors.read() == ""
