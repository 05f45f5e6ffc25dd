"""A directory that appears whole or not at all, whatever goes wrong on the way."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mlr_build.staging as staging
from mlr.bundle.storage import ensure_free, storage_error
from mlr.errors import RequestError, StorageError
from mlr_build.staging import staged_directory


def fill(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    (folder / "shards").mkdir()
    (folder / "shards" / "a").write_text(text * 10)


def stage(target: Path, force: bool, then: Callable[[Path], None] = lambda folder: None) -> None:
    """Fill `target` anew, doing something else before the end."""
    with staged_directory(target, force, 5) as folder:
        fill(folder, "new")
        then(folder)


def raising(error: BaseException | type[BaseException]) -> Callable[[Path], None]:
    def then(folder: Path) -> None:
        raise error

    return then


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_at_the_end_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "out"
    with staged_directory(target, False, 10) as folder:
        fill(folder, "new")
        assert not target.exists()
        assert folder.name.startswith(".out.unfinished-")
    assert names(target.parent) == ["out"]
    assert (target / "shards" / "a").read_text() == "new" * 10


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("force", [False, True])
def test_an_error_leaves_what_was(tmp_path: Path, error: type[BaseException], force: bool) -> None:
    target = tmp_path / "out"
    if force:
        target.mkdir()
        fill(target, "old")
    with pytest.raises(error):
        stage(target, force, raising(error))
    assert names(tmp_path) == (["out"] if force else [])
    if force:
        assert (target / "manifest.json").read_text() == "old"


@pytest.mark.parametrize("exchange", [True, False])
def test_force_replaces_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(staging, "_exchange", lambda first, second: False)
    target = tmp_path / "out"
    target.mkdir()
    fill(target, "old")
    (target / "only-old").write_text("x")
    with staged_directory(target, True, 10) as folder:
        fill(folder, "new")
    assert names(target) == ["manifest.json", "shards"]
    assert names(tmp_path) == ["out"]


def test_without_an_exchange_a_failed_rename_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    fill(target, "old")
    monkeypatch.setattr(staging, "_exchange", lambda first, second: False)
    rename = Path.rename

    def fail_second(self: Path, to: Path) -> Path:
        if self.name.startswith(".out.unfinished-") and to == target and (self / "new").exists():
            raise OSError(5, "injected")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(StorageError, match="injected"):
        stage(target, True, lambda folder: (folder / "new").touch())
    assert (target / "manifest.json").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    fill(target, "old")
    with pytest.raises(RequestError, match=r"out exists; choose another --out, or .* --force"):
        stage(target, False)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_bundle_is_not_replaced_at_all(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    if kind == "file":
        target.write_text("precious")
    elif kind == "folder":
        target.mkdir()
        (target / "precious").write_text("x")
    else:
        (tmp_path / "real").mkdir()
        fill(tmp_path / "real", "old")
        target.symlink_to(tmp_path / "real")
    before = names(tmp_path)
    with (
        pytest.raises(RequestError, match="is not a bundle, so --force does not replace it"),
        staged_directory(target, True, 1),
    ):
        pass
    assert names(tmp_path) == before


def test_an_empty_folder_is_replaced_with_force(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with staged_directory(tmp_path / "out", True, 1) as folder:
        fill(folder, "new")
    assert (tmp_path / "out" / "manifest.json").read_text() == "new"


# A shell's background jobs ignore SIGINT, and so would what they start.
HOLD = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from mlr_build.staging import staged_directory
with staged_directory(Path(sys.argv[1]), False, 1) as folder:
    (folder / "half").write_text("x")
    print("ready", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(target: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of writing `target`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_what_a_killed_run_left_is_removed_by_the_next(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    target = tmp_path / "out"
    with holder(target, environment) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (leftover,) = names(tmp_path)
    assert leftover.startswith(".out.unfinished-")
    with staged_directory(target, False, 1) as folder:
        fill(folder, "new")
    assert names(tmp_path) == ["out"]


def test_a_run_that_lives_is_left_alone(tmp_path: Path, environment: dict[str, str]) -> None:
    target = tmp_path / "out"
    with holder(target, environment):
        with staged_directory(target, False, 1) as folder:
            fill(folder, "new")
        assert len(names(tmp_path)) == 2
        assert target.is_dir()


def test_ctrl_c_leaves_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    with holder(tmp_path / "out", environment) as process:
        process.send_signal(signal.SIGINT)
        process.wait(10)
    assert names(tmp_path) == []


def test_numbers_of_bytes_are_for_a_full_disk(tmp_path: Path) -> None:
    refused = storage_error(PermissionError(errno.EACCES, "Permission denied"), tmp_path, 5)
    assert str(refused) == f"{tmp_path}: cannot be written: Permission denied"


def test_too_little_space_is_said_beforehand(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"out.*: \d+ bytes are needed, \d+ bytes are free"):
        ensure_free(tmp_path / "out" / "x", 1 << 60)
    with pytest.raises(StorageError), staged_directory(tmp_path / "out", False, 1 << 60):
        pass
    assert names(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where it can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = False
    with contextlib.suppress(OSError):
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield folder
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)  # even while files are open


def write_two_megabytes(folder: Path) -> None:
    """Fill the small disk; where none could be mounted, fail as it would."""
    (folder / "large").write_bytes(bytes(2 << 20))
    raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("force", [False, True])
def test_a_full_disk_leaves_what_was(small_disk: Path, force: bool) -> None:
    target = small_disk / "out"
    if force:
        target.mkdir()
        fill(target, "old")
    with pytest.raises(StorageError, match=r"disk is full: 5 bytes are needed, \d+ bytes are free"):
        stage(target, force, write_two_megabytes)
    assert names(small_disk) == (["out"] if force else [])
    if force:
        assert (target / "manifest.json").read_text() == "old"


def test_a_full_disk_while_flushing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every flush fails in turn, as it does when blocks are allocated late."""
    flush, failed = os.fsync, 0
    for number in range(1, 6):
        calls = 0

        def fsync(descriptor: int, number: int = number) -> None:
            nonlocal calls, failed
            calls += 1
            if calls == number:
                failed += 1
                raise OSError(28, os.strerror(28))
            flush(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        target = tmp_path / f"out{number}"
        try:
            with staged_directory(target, False, 5) as folder:
                fill(folder, "new")
        except StorageError as error:
            assert "the disk is full" in str(error)  # noqa: PT017
            # The last flush is that of the parent, when the directory is whole already.
            assert not target.exists() or names(target) == ["manifest.json", "shards"]
    assert failed == 5
    assert not [name for name in names(tmp_path) if "unfinished" in name]


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    started = time.perf_counter()
    with (
        pytest.raises(RequestError, match="file is a file, not a folder"),
        staged_directory(tmp_path / "file" / "out", False, 1),
    ):
        pass
    assert time.perf_counter() - started < 5
