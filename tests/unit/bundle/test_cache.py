from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlr.bundle import cache as module
from mlr.bundle.cache import DiskCache, cache_directory
from mlr.bundle.manifest import Manifest
from mlr.errors import StorageError
from tests.unit.bundle.faulty_server import FaultyServer
from tests.unit.bundle.helpers import read_all, sha256


def fill(cache: DiskCache, name: str, location: str, *contents: bytes) -> None:
    for data in contents:
        cache.store(sha256(data), data)
    cache.register(name, location, {sha256(data): len(data) for data in contents})


def test_entries_size_and_clearing_one_bundle(cache_dir: Path) -> None:
    cache = DiskCache()
    assert cache.entries() == []
    assert cache.size() == 0
    fill(cache, "first", "http://a/first/", b"one", b"shared")
    fill(cache, "second", "http://a/second/", b"three", b"shared")
    cache.register("third", "http://a/third/", {"0" * 64: 5})
    assert [(e.name, e.size, e.complete) for e in cache.entries()] == [
        ("first", 9, True),
        ("second", 11, True),
        ("third", 0, False),
    ]
    assert cache.size() > 14
    assert cache.clear("first") > 3
    assert not cache.has(sha256(b"one"), 3)
    assert cache.has(sha256(b"shared"), 6)
    assert [entry.name for entry in cache.entries()] == ["second", "third"]
    cache.clear("http://a/second/")
    assert not cache.has(sha256(b"shared"), 6)
    assert cache.clear("unknown") == 0
    cache.clear()
    assert cache.entries() == []
    assert cache.size() == 0


def test_the_users_cache_by_function(cache_dir: Path) -> None:
    fill(DiskCache(), "b", "http://a/", b"data")
    assert module.entries()[0].name == "b"
    assert module.size() > 4
    size = module.size()
    assert module.clear() == size
    assert module.entries() == []
    assert module.size() == 0


def test_downloads_of_the_toolchain_are_listed_and_cleared(cache_dir: Path) -> None:
    (cache_dir / "downloads" / "pypi").mkdir(parents=True)
    (cache_dir / "downloads" / "pypi" / "a.whl").write_bytes(bytes(100))
    cache = DiskCache()
    assert [(e.name, e.size) for e in cache.entries()] == [("downloads", 100)]
    assert cache.clear("downloads") == 100


@pytest.mark.parametrize("text", [b"", b"[]", b'{"blobs":[]}', b'{"name":1}', b"\xff"])
def test_broken_records_are_passed_over(cache_dir: Path, text: bytes) -> None:
    cache = DiskCache()
    fill(cache, "good", "http://a/", b"data")
    (cache_dir / "bundles" / "0broken.json").write_bytes(text)
    assert [entry.name for entry in cache.entries()] == ["good"]


def test_a_small_file_that_is_wrong_is_thrown_away(cache_dir: Path) -> None:
    cache = DiskCache()
    cache.store(sha256(b"data"), b"data")
    assert cache.read(sha256(b"data"), 4) == b"data"
    cache.blob(sha256(b"data")).write_bytes(b"dada")
    assert cache.read(sha256(b"data"), 4) is None
    assert not cache.blob(sha256(b"data")).exists()
    assert cache.read(sha256(b"data"), 4) is None


def test_whoever_finishes_second_leaves_the_first_ones_blob(cache_dir: Path) -> None:
    """The partial file may then be that of a third process, which has just begun."""
    cache, name = DiskCache(), sha256(b"whole")
    cache.require_space(0)
    cache.partial(name).write_bytes(b"whole")
    cache.finish(name, 5)
    cache.partial(name).write_bytes(b"wh")
    cache.finish(name, 5)
    assert cache.read(name, 5) == b"whole"
    assert not cache.partial(name).exists()
    cache.finish(name, 5)
    cache.discard(name)
    with pytest.raises(FileNotFoundError):
        cache.finish(name, 5)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "chosen"))
    assert cache_directory() == tmp_path / "chosen"
    monkeypatch.delenv("MLR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_directory() == tmp_path / "mlr"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_directory() == Path.home() / "Library" / "Caches" / "mlr"


def test_every_write_failing_in_turn(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After each failure the cache has the old state, and works."""
    cache = DiskCache()
    cache.require_space(0)

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(
            StorageError, match=r"the disk is full: 4 bytes are needed, .* are free"
        ):
            cache.store(sha256(b"data"), b"data")
        with pytest.raises(StorageError):
            cache.register("b", "http://a/", {sha256(b"data"): 4})
    assert list((cache_dir / "partial").iterdir()) == []
    assert cache.read(sha256(b"data"), 4) is None
    assert cache.entries() == []
    fill(cache, "b", "http://a/", b"data")
    assert cache.entries()[0].complete


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where it can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    with contextlib.suppress(OSError):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            yield folder
            subprocess.run(["umount", "-l", str(folder)], check=True)  # even while files are open
            return
    # Where nothing can be mounted, every shard's write fails as on a full disk.
    yield folder


def test_a_disk_that_fills_up_on_the_way(
    server: FaultyServer,
    manifest: Manifest,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLR_CACHE", str(small_disk / "cache"))
    monkeypatch.setattr(DiskCache, "require_space", make_folders)  # it would notice beforehand
    if not os.path.ismount(small_disk):
        monkeypatch.setattr("mlr.bundle.fetch.ShardFetch._copy", fail_as_full)
    with pytest.raises(StorageError, match=r"the disk is full: 262144 bytes are needed, .* free"):
        read_all(server.url + "/bundle")
    cache = DiskCache()
    for blob in (cache.root / "blobs").iterdir():
        assert sha256(blob.read_bytes()) == blob.name, "what is there is whole"


def make_folders(cache: DiskCache, needed: int) -> None:
    for name in ("blobs", "partial", "bundles"):
        (cache.root / name).mkdir(parents=True, exist_ok=True)


def fail_as_full(self: object, body: object, file: object) -> None:
    raise OSError(28, os.strerror(28))


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLR_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA", "HOME", "USERPROFILE"):
        monkeypatch.delenv(name, raising=False)
    # as `expanduser` does where the system does not know the user
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(StorageError, match="set MLR_CACHE"):
        cache_directory()
