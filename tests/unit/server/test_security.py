"""Headers on every response, and the check of the Host header."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from mlr.server.app import create_app
from mlr.server.registry import Registry
from mlr.server.security import is_loopback
from mlr.server.work import Work


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/v1/models"),
        ("GET", "/nowhere"),
        ("POST", "/v1/completions"),
        ("DELETE", "/v1/completions"),
        ("GET", "/bundles.json"),
    ],
)
def test_every_response_has_the_headers(client: httpx.Client, method: str, path: str) -> None:
    headers = client.request(method, path).headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "'wasm-unsafe-eval'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_other_origins_are_not_let_in(client: httpx.Client) -> None:
    """A page elsewhere asks before it posts JSON; it hears no."""
    answer = client.options(
        "/v1/completions",
        headers={
            "origin": "https://evil.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        },
    )
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8000", "127.0.0.1", "127.0.0.1:8000", "127.1.2.3:5", "[::1]:8000"],
)
def test_this_machine_s_own_names(client: httpx.Client, host: str) -> None:
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.5:8000",
        "[2001:db8::1]:8000",
        "[",
        "",
        ":8000",
    ],
)
@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/bundles.json"])
def test_other_hosts_are_refused(client: httpx.Client, host: str, path: str) -> None:
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "wrong_host"
    assert answer.headers["x-content-type-options"] == "nosniff"


def ask(host: str, header: str) -> int:
    async def scenario() -> int:
        app: Any = create_app(Registry([]), Work(), host=host)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return (await client.get("/health", headers={"host": header})).status_code

    return asyncio.run(scenario())


def test_bound_elsewhere_any_host_will_do() -> None:
    assert ask("0.0.0.0", "models.example:8000") == 200
    assert ask("localhost", "models.example:8000") == 421


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
