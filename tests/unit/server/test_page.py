"""The playground's files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlr.server.app import create_app
from mlr.server.registry import Registry
from mlr.server.work import Work


def get(folder: Path, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def scenario() -> httpx.Response:
        app: Any = create_app(Registry([]), Work(), page_folder=folder)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(scenario())


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>mlr</title>")
    for name in ("a.mjs", "a.js", "a.wasm", "a.css", "a.json", "a.whl", "a.svg"):
        (folder / "assets" / name).write_bytes(b"content")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


def test_the_page(page: Path) -> None:
    answer = get(page, "/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>mlr" in answer.text
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.wasm", "application/wasm"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.whl", "application/octet-stream"),
    ],
)
def test_content_types(page: Path, name: str, kind: str) -> None:
    answer = get(page, f"/assets/{name}")
    assert answer.headers["content-type"] == kind
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.content == b"content"


def test_what_the_browser_has_is_not_sent_again(page: Path) -> None:
    etag = get(page, "/assets/a.js").headers["etag"]
    answer = get(page, "/assets/a.js", **{"if-none-match": etag})
    assert answer.status_code == 304
    assert answer.content == b""


@pytest.mark.parametrize(
    "path",
    [
        "/missing.js",
        "/assets/",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "/link.txt",
        "/%00",
        "/" + "a" * 5000,
    ],
)
def test_nothing_else(page: Path, path: str) -> None:
    answer = get(page, path)
    assert answer.status_code == 404
    assert "secret" not in answer.text.replace(path, "").replace("secret.txt", "")
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/completions", 405),
        ("PUT", "/v1/chat/completions", 405),
        ("POST", "/v1/moderations", 404),
        ("GET", "/v1/assets/a.js", 404),
        ("GET", "/v1", 404),
        ("POST", "/health", 405),
        ("POST", "/assets/a.js", 405),
        ("POST", "/", 405),
        ("GET", "/health", 200),
        ("GET", "/bundles.json", 200),
    ],
)
def test_the_page_does_not_hide_the_rest(page: Path, method: str, path: str, status: int) -> None:
    answer = get(page, path, method)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["type"] == "invalid_request_error"


def test_a_page_that_is_not_built(tmp_path: Path) -> None:
    answer = get(tmp_path, "/")
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/html")
    assert "npm run build" in answer.text
    assert get(tmp_path, "/health").status_code == 200
