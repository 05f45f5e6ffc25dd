"""Bundles under a URL, from a real server that goes wrong in every way it can."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from mlr.bundle.cache import DiskCache
from mlr.bundle.manifest import Manifest
from mlr.bundle.manifest_reader import parse_manifest
from mlr.errors import FetchError, IntegrityError, ManifestError, StorageError
from mlr_build.package import package
from mlr_build.progress import open_progress
from mlr_build.sources import open_source
from tests.unit.bundle.faulty_server import Fault, FaultyServer, Reply
from tests.unit.bundle.helpers import (
    flip_bit,
    hasty_client,
    opened,
    read_all,
    sha256,
    wait_for_fetches,
)


def set_status(status: int) -> Fault:
    def fault(reply: Reply) -> None:
        reply.status = status

    return fault


def cut(after: int) -> Fault:
    def fault(reply: Reply) -> None:
        reply.cut_after = after

    return fault


def stall(after: int) -> Fault:
    def fault(reply: Reply) -> None:
        reply.stall_after = after

    return fault


def damage(reply: Reply) -> None:
    changed = bytearray(reply.body)
    changed[-1] ^= 0x10
    reply.body = bytes(changed)


def without_ranges(reply: Reply) -> None:
    reply.ranges = False


def without_length(reply: Reply) -> None:
    reply.with_length = False


def check_whole(data: bytes, manifest: Manifest) -> None:
    assert sha256(data) == manifest.variants[0].sha256


def partials(cache_dir: Path) -> list[str]:
    folder = cache_dir / "partial"
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@pytest.mark.parametrize("form", ["/bundle", "/bundle/", "/bundle/manifest.json", "/bundle?a=b"])
def test_every_form_of_the_url(server: FaultyServer, manifest: Manifest, form: str) -> None:
    check_whole(read_all(server.url + form), manifest)
    assert set(server.paths()) == {
        "bundle/manifest.json",
        *(f"bundle/{shard.file}" for shard in manifest.variants[0].shards),
    }


def test_shards_are_fetched_once_each_and_four_at_once(
    server: FaultyServer, manifest: Manifest, cache_dir: Path
) -> None:
    server.always("shards/", lambda reply: time.sleep(0.02))
    progress: list[tuple[int, int]] = []
    data = read_all(server.url + "/bundle", on_fetch=lambda *args: progress.append(args))
    check_whole(data, manifest)
    shards = {shard.sha256: shard.size for shard in manifest.variants[0].shards}
    assert sorted(server.paths()) == sorted(
        ["bundle/manifest.json", *(f"bundle/shards/{sha}" for sha in shards)]
    )
    assert 2 <= server.most_at_once <= 4
    total = sum(shards.values())
    assert progress[-1] == (total, total)
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
    assert partials(cache_dir) == []


def test_the_second_time_comes_from_the_cache(server: FaultyServer, manifest: Manifest) -> None:
    url = server.url + "/bundle"
    read_all(url)
    server.requests.clear()
    check_whole(read_all(url), manifest)
    assert server.paths() == ["bundle/manifest.json"]


def test_shards_before_start_are_not_fetched(server: FaultyServer, manifest: Manifest) -> None:
    variant = manifest.variants[0]
    start = variant.shards[0].size * 3
    read_all(server.url + "/bundle", start)
    assert not {f"bundle/{shard.file}" for shard in variant.shards[:3]} & set(server.paths())


def test_small_files_are_cached(server: FaultyServer, manifest: Manifest, cache_dir: Path) -> None:
    async def read() -> bytes:
        bundle = await opened(server.url + "/bundle")
        return await bundle.read_file(bundle.manifest.tokenizer)

    first = asyncio.run(read())
    assert sha256(first) == manifest.tokenizer.sha256
    server.requests.clear()
    assert asyncio.run(read()) == first
    assert server.paths() == ["bundle/manifest.json"]
    flip_bit(cache_dir / "blobs" / manifest.tokenizer.sha256, 5)
    assert asyncio.run(read()) == first
    assert server.paths()[-1] == "bundle/tokenizer.bin"


def test_a_wrong_small_file(server: FaultyServer) -> None:
    server.always("tokenizer", damage)

    async def read() -> bytes:
        bundle = await opened(server.url + "/bundle")
        return await bundle.read_file(bundle.manifest.tokenizer)

    with pytest.raises(IntegrityError, match=r"tokenizer.bin: has the SHA-256"):
        asyncio.run(read())


@pytest.fixture
def long_shards(server: FaultyServer, bundle_dir: Path) -> Manifest:
    """The same bundle with shards of four chunks, so that a cut can fall inside one."""
    whole = bundle_dir.parent / "whole.gguf"
    whole.write_bytes(read_all(bundle_dir))
    shutil.rmtree(bundle_dir)
    with open_source(str(whole), open_progress()) as source:
        package(source, bundle_dir, open_progress(), shard_size=5 * (64 << 10))
    return parse_manifest((bundle_dir / "manifest.json").read_bytes(), "m")


@pytest.mark.parametrize(
    ("fault", "resumed"), [(cut(150_000), 2 * 65536), (stall(150_000), 2 * 65536), (cut(0), 0)]
)
def test_a_cut_is_resumed_where_the_last_whole_chunk_ended(
    server: FaultyServer, long_shards: Manifest, fault: Fault, resumed: int
) -> None:
    shard = long_shards.variants[0].shards[0]
    assert (shard.size, long_shards.variants[0].chunk_size) == (5 * 65536, 65536)
    server.once(shard.file, fault)
    delays: list[float] = []
    client = hasty_client(delays, timeout=0.5)
    check_whole(read_all(server.url + "/bundle", client=client), long_shards)
    starts = [start for path, start in server.requests if path.endswith(shard.sha256)]
    assert starts == [0, resumed]
    assert delays == [0.5]


def test_every_connection_is_cut_after_a_chunk(server: FaultyServer, long_shards: Manifest) -> None:
    """As long as something arrives each time, it goes on."""
    server.always("shards/", cut(70_000))
    check_whole(read_all(server.url + "/bundle"), long_shards)


def test_a_server_without_ranges(server: FaultyServer, long_shards: Manifest) -> None:
    server.always("shards/", without_ranges)
    server.once(long_shards.variants[0].shards[1].file, cut(150_000))
    check_whole(read_all(server.url + "/bundle"), long_shards)


def test_a_server_that_does_not_say_sizes(server: FaultyServer, long_shards: Manifest) -> None:
    server.always("", without_length)
    check_whole(read_all(server.url + "/bundle"), long_shards)


def test_what_arrived_before_a_failure_is_not_fetched_again(
    server: FaultyServer, long_shards: Manifest, cache_dir: Path
) -> None:
    variant = long_shards.variants[0]
    for shard in variant.shards:
        server.once(shard.file, cut(0), times=6)
        server.once(shard.file, cut(150_000))
    with pytest.raises(FetchError, match="4 times in a row; check the network and try again"):
        read_all(server.url + "/bundle")
    wait_for_fetches()
    kept = {path.name: path.stat().st_size for path in (cache_dir / "partial").iterdir()}
    assert max(kept.values()) == 2 * 65536
    server.faults.clear()
    server.requests.clear()
    check_whole(read_all(server.url + "/bundle"), long_shards)
    starts = {path.rpartition("/")[2]: start for path, start in server.requests}
    assert {name: starts[name] for name in kept} == kept


def test_a_partial_file_that_was_damaged_is_taken_up_to_the_damage(
    server: FaultyServer, long_shards: Manifest, cache_dir: Path
) -> None:
    shard = long_shards.variants[0].shards[0]
    whole = (server.folder / "bundle" / shard.file).read_bytes()
    cache = DiskCache()
    cache.require_space(0)
    cache.partial(shard.sha256).write_bytes(whole[:65536] + b"x" + whole[65537:] + b"too long")
    check_whole(read_all(server.url + "/bundle"), long_shards)
    assert (f"bundle/{shard.file}", 65536) in server.requests
    assert cache.blob(shard.sha256).read_bytes() == whole


def test_a_wrong_chunk_is_asked_for_once_more(server: FaultyServer, manifest: Manifest) -> None:
    shard = manifest.variants[0].shards[2]
    server.once(shard.file, damage)
    check_whole(read_all(server.url + "/bundle"), manifest)
    asked = [
        headers
        for (path, _), headers in zip(server.requests, server.headers, strict=True)
        if path.endswith(shard.sha256)
    ]
    assert [headers.get("Cache-Control") for headers in asked] == [None, "no-cache"]


def test_a_chunk_that_stays_wrong_is_refused(
    server: FaultyServer, manifest: Manifest, cache_dir: Path
) -> None:
    shard = manifest.variants[0].shards[2]
    server.always(shard.file, damage)
    with pytest.raises(IntegrityError) as caught:
        read_all(server.url + "/bundle")
    message = str(caught.value)
    assert shard.file in message
    assert "chunk 0" in message
    assert shard.chunks[0] in message
    assert not (cache_dir / "blobs" / shard.sha256).exists()


def test_a_wrong_chunk_in_the_cache_is_fetched_again(
    server: FaultyServer, manifest: Manifest, cache_dir: Path
) -> None:
    url = server.url + "/bundle"
    read_all(url)
    for shard in manifest.variants[0].shards[1:4]:
        flip_bit(cache_dir / "blobs" / shard.sha256, 7)
    truncated = cache_dir / "blobs" / manifest.variants[0].shards[5].sha256
    truncated.write_bytes(truncated.read_bytes()[:99])
    server.requests.clear()
    check_whole(read_all(url), manifest)
    assert len(server.requests) == 5
    server.requests.clear()
    check_whole(read_all(url), manifest)
    assert len(server.requests) == 1


def test_a_cache_that_is_wrong_and_a_server_that_is_gone(
    server: FaultyServer, manifest: Manifest, cache_dir: Path
) -> None:
    url = server.url + "/bundle"
    read_all(url)
    flip_bit(cache_dir / "blobs" / manifest.variants[0].shards[1].sha256, 7)
    server.always("shards/", set_status(404))
    with pytest.raises(FetchError, match="the server answered 404"):
        read_all(url)


def test_a_missing_shard_is_not_tried_again(server: FaultyServer, manifest: Manifest) -> None:
    shard = manifest.variants[0].shards[1]
    (server.folder / "bundle" / shard.file).unlink()
    with pytest.raises(FetchError, match=f"{shard.file}: the server answered 404 .*no such file"):
        read_all(server.url + "/bundle")
    assert server.paths().count(f"bundle/{shard.file}") == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_errors_that_pass_are_tried_again(
    server: FaultyServer, manifest: Manifest, status: int
) -> None:
    server.once(manifest.variants[0].shards[0].file, set_status(status), times=3)
    delays: list[float] = []
    check_whole(read_all(server.url + "/bundle", client=hasty_client(delays)), manifest)
    assert delays == [0.5, 1.0, 2.0]


def test_errors_that_do_not_pass_end_it(server: FaultyServer, manifest: Manifest) -> None:
    server.always(manifest.variants[0].shards[0].file, set_status(503))
    with pytest.raises(FetchError, match=r"answered 503 .*4 times in a row"):
        read_all(server.url + "/bundle")


def test_a_shard_of_another_size_says_so(server: FaultyServer, manifest: Manifest) -> None:
    shard = manifest.variants[0].shards[0]

    def longer(reply: Reply) -> None:
        reply.body += b"more"

    server.always(shard.file, longer)
    with pytest.raises(IntegrityError, match=f"has {shard.size + 4} bytes, the manifest says"):
        read_all(server.url + "/bundle")


def test_a_manifest_that_contradicts_itself_does_not_fill_the_cache(
    server: FaultyServer, bundle_dir: Path, manifest: Manifest, cache_dir: Path
) -> None:
    """The chunks' hashes are right, the shard's is not: it would pass for another file."""
    shard = manifest.variants[0].shards[0]
    path = bundle_dir / "manifest.json"
    data = json.loads(path.read_bytes())
    claimed = data["variants"][0]["shards"][0]
    claimed["sha256"], claimed["file"] = "0" * 64, f"shards/{'0' * 64}"
    path.write_text(json.dumps(data))
    (bundle_dir / shard.file).rename(bundle_dir / "shards" / ("0" * 64))
    with pytest.raises(IntegrityError, match="though its chunks are right"):
        read_all(server.url + "/bundle")
    assert not (cache_dir / "blobs" / ("0" * 64)).exists()


def test_compressed_transfer_is_refused(server: FaultyServer) -> None:
    server.always("shards/", lambda reply: reply.headers.update({"Content-Encoding": "gzip"}))
    with pytest.raises(FetchError, match="serve bundles without compression"):
        read_all(server.url + "/bundle")


def test_a_range_that_was_not_asked_for(server: FaultyServer, long_shards: Manifest) -> None:
    shard = long_shards.variants[0].shards[0]
    server.once(shard.file, cut(150_000))
    server.always("shards/", lambda reply: reply.headers.update({"Content-Range": "bytes 0-9/10"}))
    with pytest.raises(FetchError, match="byte 131072 was asked for, the server sent 'bytes 0-9"):
        read_all(server.url + "/bundle")


def redirect_to(location: str) -> Fault:
    def fault(reply: Reply) -> None:
        if not reply.path.startswith("moved/"):
            reply.location = location + reply.path

    return fault


def test_redirects_are_followed(server: FaultyServer, bundle_dir: Path, manifest: Manifest) -> None:
    (bundle_dir.parent / "moved").mkdir()
    bundle_dir.rename(bundle_dir.parent / "moved" / "bundle")
    server.always("", redirect_to("/moved/"))
    check_whole(read_all(server.url + "/bundle"), manifest)


@pytest.mark.parametrize("location", ["file:///etc/passwd?", "ftp://host/", "data:,x"])
def test_redirects_elsewhere_are_refused(server: FaultyServer, location: str) -> None:
    server.always("", redirect_to(location))
    with pytest.raises(FetchError, match=r"redirect|answered 302"):
        read_all(server.url + "/bundle")


def test_redirects_in_a_circle_end(server: FaultyServer) -> None:
    server.always("", lambda reply: setattr(reply, "location", "/bundle/manifest.json"))
    with pytest.raises(FetchError, match="302"):
        read_all(server.url + "/bundle")
    assert len(server.requests) < 20


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlr.bundle.http.HttpClient", hasty_client)
    with pytest.raises(FetchError, match=r"no connection: .*4 times in a row; check the network"):
        read_all("http://127.0.0.1:9/bundle")


def test_a_manifest_that_is_a_web_page(server: FaultyServer) -> None:
    server.always("manifest", lambda reply: setattr(reply, "body", b"<html>sign in</html>"))
    with pytest.raises(ManifestError, match="is not valid JSON"):
        read_all(server.url + "/bundle")


def test_a_manifest_without_end(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlr.bundle.reader.MAX_MANIFEST_BYTES", 1000)
    with pytest.raises(FetchError, match="the limit is 1000"):
        read_all(server.url + "/bundle")
    server.always("manifest", without_length)
    with pytest.raises(FetchError, match="more than 1000 bytes, the limit"):
        read_all(server.url + "/bundle")


def test_closing_early_stops_the_fetch_and_keeps_what_came(
    server: FaultyServer, manifest: Manifest, cache_dir: Path
) -> None:
    server.always("shards/", lambda reply: time.sleep(0.02))

    async def read() -> float:
        bundle = await opened(server.url + "/bundle")
        stream = bundle.stream(manifest.variants[0])
        async for _ in stream:
            break
        before = time.perf_counter()
        await stream.aclose()
        return time.perf_counter() - before

    asyncio.run(read())
    wait_for_fetches()
    asked = len(server.requests)
    assert asked < len(manifest.variants[0].shards)
    time.sleep(0.1)
    assert len(server.requests) == asked
    check_whole(read_all(server.url + "/bundle"), manifest)


def test_a_silent_server_does_not_hold_up_the_end(server: FaultyServer, manifest: Manifest) -> None:
    """Cancelled while it waits for the network, the stream ends at once."""
    server.always("shards/", stall(10))

    async def read() -> None:
        bundle = await opened(server.url + "/bundle", hasty_client(timeout=2))
        async for _ in bundle.stream(manifest.variants[0]):
            pass

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(read(), 0.15)

    before = time.perf_counter()
    asyncio.run(main())
    assert time.perf_counter() - before < 1.5
    wait_for_fetches()


def test_two_readers_at_once_share_the_cache(
    server: FaultyServer, long_shards: Manifest, cache_dir: Path
) -> None:
    server.always("shards/", lambda reply: time.sleep(0.01))
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(read_all(server.url + "/bundle")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for data in results:
        check_whole(data, long_shards)
    assert partials(cache_dir) == []


def test_a_disk_too_full_is_found_before_anything_is_fetched(
    server: FaultyServer, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, cache_dir: Path
) -> None:
    monkeypatch.setattr("mlr.bundle.storage.free_bytes", lambda path: 1000)
    with pytest.raises(StorageError) as caught:
        read_all(server.url + "/bundle")
    assert str(cache_dir) in str(caught.value)
    assert f"{manifest.variants[0].size} bytes are needed, 1000 bytes are free" in str(caught.value)
    assert server.paths() == ["bundle/manifest.json"]


def test_a_cache_that_cannot_be_made(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="cannot be written"):
        read_all(server.url + "/bundle")
