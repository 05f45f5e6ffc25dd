"""`/bundles.json` and `/bundles/…`."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from mlr import hosts
from mlr.bundle.cache import DiskCache
from mlr.bundle.manifest_reader import parse_manifest
from mlr.bundle.reader import Bundle, open_bundle
from mlr.server.app import create_app
from mlr.server.bundles import BundleFiles
from mlr.server.registry import Registry, ServedModel
from mlr.server.work import Work

Get = Callable[..., httpx.Response]


def getter(bundle: Bundle, cache: DiskCache | None = None) -> Get:
    """What asks an application that serves this bundle, without a model."""
    served = ServedModel(
        bundle.manifest.name, cast(Any, None), cast(Any, None), BundleFiles(bundle, cache)
    )
    app: Any = create_app(Registry([served]), Work())

    def get(path: str, method: str = "GET", **headers: str) -> httpx.Response:
        async def scenario() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asks:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                return await asks.request(method, path, headers=named)

        return asyncio.run(scenario())

    return get


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    folder = shutil.copytree(tiny_bundle, tmp_path / "tiny")
    (folder / "unnamed.txt").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
    return asyncio.run(open_bundle(folder, hosts.current()))


@pytest.fixture
def get(bundle: Bundle) -> Get:
    return getter(bundle)


def shard_of(bundle: Bundle) -> tuple[str, bytes]:
    """The path of the only shard, and its content."""
    file = bundle.manifest.variants[0].shards[0].file
    return f"/bundles/tiny/{file}", (Path(bundle.location) / file).read_bytes()


def test_the_list(get: Get, bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert get("/bundles.json").json() == [
        {
            "name": "tiny",
            "url": "/bundles/tiny/",
            "task": "generate",
            "size": manifest.variants[0].size,
            "architecture": "llama",
            "quantization": "Q4_0",
            "license": {
                "id": manifest.license.id,
                "notice": manifest.license.notice,
                "url": manifest.license.url,
            },
        }
    ]


def test_the_manifest(get: Get, bundle: Bundle) -> None:
    answer = get("/bundles/tiny/manifest.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.content == (Path(bundle.location) / "manifest.json").read_bytes()
    assert parse_manifest(answer.content, "answer") == bundle.manifest


def test_a_shard(get: Get, bundle: Bundle) -> None:
    path, data = shard_of(bundle)
    answer = get(path)
    assert answer.content == data
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        ("bytes=1000-", 1000, -1),
        ("bytes=-5", -5, -1),
        ("bytes=100-99999999999", 100, -1),
    ],
)
def test_ranges(get: Get, bundle: Bundle, asked: str, first: int, last: int) -> None:
    path, data = shard_of(bundle)
    first, last = first % len(data), last % len(data)
    answer = get(path, range=asked)
    assert answer.status_code == 206
    assert answer.content == data[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(data)}"


@pytest.mark.parametrize(
    ("asked", "status"),
    [("bytes=99999999-", 416), ("bytes=5-1", 400), ("bytes=x-y", 400), ("lines=1-2", 400)],
)
def test_ranges_that_are_none(get: Get, bundle: Bundle, asked: str, status: int) -> None:
    assert get(shard_of(bundle)[0], range=asked).status_code == status


def test_if_range(get: Get, bundle: Bundle) -> None:
    path, data = shard_of(bundle)
    etag = get(path).headers["etag"]
    assert get(path, range="bytes=0-9", if_range=etag).status_code == 206
    assert get(path, range="bytes=0-9", if_range='"other"').content == data


def test_what_the_client_has_is_not_sent_again(get: Get, bundle: Bundle) -> None:
    for path in (
        shard_of(bundle)[0],
        "/bundles/tiny/manifest.json",
        "/bundles/tiny/tokenizer.bin",
    ):
        etag = get(path).headers["etag"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            answer = get(path, if_none_match=known)
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == etag
        assert get(path, if_none_match='"other"').status_code == 200


def test_head(get: Get, bundle: Bundle) -> None:
    path, data = shard_of(bundle)
    answer = get(path, "HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(data))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "unnamed.txt",
        "shards",
        "shards/",
        "shards/" + "0" * 64,
        "../outside.txt",
        "%2e%2e/outside.txt",
        "..%2foutside.txt",
        "shards/../unnamed.txt",
        "shards/%2e%2e/%2e%2e/outside.txt",
        "..\\outside.txt",
        "..%5coutside.txt",
        "/etc/passwd",
        "//etc/passwd",
        "%00",
        "manifest.json%00.txt",
        "manifest.json/",
        "MANIFEST.JSON",
        "a" * 5000,
    ],
)
def test_nothing_else_is_served(get: Get, path: str) -> None:
    answer = get(f"/bundles/tiny/{path}")
    assert answer.status_code == 404
    assert "secret" not in answer.text


@pytest.mark.parametrize("name", ["other", "..", "%2e%2e", "tiny%2f..", ""])
def test_no_other_bundle(get: Get, name: str) -> None:
    assert get(f"/bundles/{name}/manifest.json").status_code == 404


def test_a_link_out_of_the_folder_is_not_followed(get: Get, bundle: Bundle) -> None:
    folder = Path(bundle.location)
    (folder / "tokenizer.bin").unlink()
    (folder / "tokenizer.bin").symlink_to(folder.parent / "outside.txt")
    assert get("/bundles/tiny/tokenizer.bin").status_code == 404


def test_a_folder_in_place_of_a_file_is_not_served(get: Get, bundle: Bundle) -> None:
    folder = Path(bundle.location)
    (folder / "tokenizer.bin").unlink()
    (folder / "tokenizer.bin").mkdir()
    assert get("/bundles/tiny/tokenizer.bin").status_code == 404


def test_a_shard_that_has_gone(get: Get, bundle: Bundle) -> None:
    shutil.rmtree(Path(bundle.location) / "shards")
    answer = get(shard_of_gone(bundle))
    assert answer.status_code == 404
    assert "missing" in answer.json()["error"]["message"]


def shard_of_gone(bundle: Bundle) -> str:
    return f"/bundles/tiny/{bundle.manifest.variants[0].shards[0].file}"


def test_writing_is_not_possible(get: Get) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert get("/bundles/tiny/manifest.json", method).status_code == 405


def test_a_bundle_from_a_url_is_served_from_the_cache(bundle: Bundle, tmp_path: Path) -> None:
    path, data = shard_of(bundle)
    cache = DiskCache(tmp_path / "cache")
    cache.store(bundle.manifest.variants[0].shards[0].sha256, data)
    remote = Bundle(bundle.manifest, "https://example.org/tiny/", hosts.current())
    get = getter(remote, cache)
    assert get("/bundles.json").json()[0]["url"] == "/bundles/tiny/"
    assert get("/bundles/tiny/manifest.json").status_code == 200
    assert get(path, range="bytes=5-9").content == data[5:10]
    elsewhere = get("/bundles/tiny/tokenizer.bin")  # not in the cache: it is where it came from
    assert elsewhere.status_code == 307
    assert elsewhere.headers["location"] == "https://example.org/tiny/tokenizer.bin"
