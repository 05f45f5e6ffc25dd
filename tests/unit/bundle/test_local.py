from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mlr.bundle.manifest import Manifest
from mlr.errors import BundleError, IntegrityError, ManifestError, RequestError
from mlr.formats.gguf import read_gguf
from mlr.formats.source import BytesSource
from tests.unit.bundle.helpers import flip_bit, opened, read_all, sha256


def test_the_stream_is_the_file_that_was_packaged(packaged: Path, manifest: Manifest) -> None:
    data = read_all(packaged)
    variant = manifest.variants[0]
    assert len(data) == variant.size
    assert sha256(data) == variant.sha256 == manifest.origin.sha256
    found = read_gguf(BytesSource(data, "joined"))
    assert found.data_offset == variant.data_offset
    tensors = {t.name: (t.type, t.shape, t.offset, t.size) for t in found.tensors}
    assert tensors == {t.name: (t.type, t.shape, t.offset, t.size) for t in variant.tensors}


@pytest.mark.parametrize("start", [0, 1, 262_143, 262_144, 262_145, 1_000_000, -1])
def test_the_stream_begins_with_the_chunk_that_holds_start(
    packaged: Path, manifest: Manifest, start: int
) -> None:
    variant = manifest.variants[0]
    start = variant.size - 1 if start == -1 else start
    whole = read_all(packaged)
    first = start // variant.chunk_size * variant.chunk_size
    assert read_all(packaged, start) == whole[first:]


def test_nothing_is_left_after_the_end(packaged: Path, manifest: Manifest) -> None:
    assert read_all(packaged, manifest.variants[0].size) == b""


def test_a_location_may_be_the_manifest_itself(packaged: Path, manifest: Manifest) -> None:
    bundle = asyncio.run(opened(packaged / "manifest.json"))
    assert bundle.manifest == manifest
    assert bundle.location == str(packaged)
    assert not bundle.remote


def test_small_files_are_verified(bundle_dir: Path) -> None:
    async def read() -> bytes:
        bundle = await opened(bundle_dir)
        return await bundle.read_file(bundle.manifest.tokenizer)

    path = bundle_dir / "tokenizer.bin"
    whole = path.read_bytes()
    assert asyncio.run(read()) == whole
    flip_bit(path, 10)
    with pytest.raises(IntegrityError, match=rf"tokenizer.bin: has the SHA-256 .*{sha256(whole)}"):
        asyncio.run(read())
    path.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match=f"has {len(whole) - 1} bytes instead of the"):
        asyncio.run(read())
    path.write_bytes(whole + b"!")
    with pytest.raises(IntegrityError, match=f"has more than the {len(whole)} bytes"):
        asyncio.run(read())
    path.unlink()
    with pytest.raises(BundleError, match=r"tokenizer.bin: this file of the bundle is missing"):
        asyncio.run(read())
    os.mkfifo(path)  # would wait for ever
    with pytest.raises(BundleError, match="is missing"):
        asyncio.run(read())


def test_a_flipped_bit_names_shard_chunk_and_both_hashes(
    bundle_dir: Path, manifest: Manifest
) -> None:
    shard = manifest.variants[0].shards[3]
    path = bundle_dir / shard.file
    flip_bit(path, 1000)
    with pytest.raises(IntegrityError) as caught:
        read_all(bundle_dir)
    message = str(caught.value)
    assert str(path) in message
    assert "chunk 0" in message
    assert shard.chunks[0] in message
    assert sha256(path.read_bytes()) in message


def test_a_flipped_bit_comes_up_before_the_chunk_is_given_out(
    bundle_dir: Path, manifest: Manifest
) -> None:
    variant = manifest.variants[0]
    flip_bit(bundle_dir / variant.shards[2].file, 0)

    async def read() -> int:
        bundle, given = await opened(bundle_dir), 0
        try:
            async for offset, piece in bundle.stream(variant):
                given = offset + len(piece)
        except IntegrityError:
            return given
        return -1

    assert asyncio.run(read()) == variant.shards[0].size * 2


def test_a_missing_shard(bundle_dir: Path, manifest: Manifest) -> None:
    path = bundle_dir / manifest.variants[0].shards[-1].file
    path.unlink()
    with pytest.raises(BundleError, match=f"{path}: this shard is missing; copy or download"):
        read_all(bundle_dir)
    path.mkdir()
    with pytest.raises(BundleError, match="cannot be read"):
        read_all(bundle_dir)


def test_a_truncated_shard(bundle_dir: Path, manifest: Manifest) -> None:
    path = bundle_dir / manifest.variants[0].shards[0].file
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(IntegrityError, match="ends at byte 1000, the manifest says that it has"):
        read_all(bundle_dir)


def test_stopping_early_reads_no_further_and_leaves_nothing_running(
    packaged: Path, manifest: Manifest
) -> None:
    async def read() -> None:
        bundle = await opened(packaged)
        stream = bundle.stream(manifest.variants[0])
        async for _ in stream:
            break
        await stream.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(read())


def test_buffers_are_used_again(packaged: Path, manifest: Manifest) -> None:
    """Loading holds a few chunks, however large the file is."""

    async def read() -> int:
        bundle = await opened(packaged)
        kept = [piece.obj async for _, piece in bundle.stream(manifest.variants[0])]
        return len({id(buffer) for buffer in kept})

    assert asyncio.run(read()) <= 5


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("", BundleError, "is not a bundle"),
        ("nowhere", BundleError, "it has no manifest.json; check the path"),
        ("a" * 5000, BundleError, "cannot be read: File name too long"),
        ("file:///etc", RequestError, "a bundle is a folder or an http"),
        ("ftp://host/x", RequestError, "a bundle is a folder or an http"),
        ("http:///x", RequestError, "needs a host"),
        ("https://me:secret@host/x", RequestError, "cannot hold a user name"),
        ("http://[::1/x", RequestError, "not a valid URL"),
    ],
)
def test_locations_that_are_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    location: str,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message) as caught:
        asyncio.run(opened(location))
    assert "secret" not in str(caught.value)


def test_a_folder_without_a_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="make one with mlr-build package"):
        asyncio.run(opened(tmp_path))


def test_a_manifest_with_an_unsafe_path_is_refused(bundle_dir: Path) -> None:
    path = bundle_dir / "manifest.json"
    path.write_text(path.read_text().replace('"tokenizer.bin"', '"../tokenizer.bin"'))
    with pytest.raises(ManifestError, match="does not match"):
        asyncio.run(opened(bundle_dir))
