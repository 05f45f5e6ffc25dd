"""Write a directory so that either all of it appears or nothing does.

The directory is filled under a temporary name beside its target, flushed to the disk and then
renamed. A process that is killed leaves the temporary directory behind; it holds a lock while
it lives, so the next run can tell what has been abandoned and removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlr.bundle.storage import ensure_free, storage_error
from mlr.errors import RequestError

try:
    import fcntl
except ImportError:  # Windows: nothing can be locked, so nothing is taken for abandoned
    fcntl = None  # type: ignore[assignment]

__all__ = ["OutputKind", "check_output", "staged_directory"]

_MARK = ".unfinished-"


@dataclass(frozen=True, slots=True)
class OutputKind:
    """What a command writes: its name for people, and the file that every such directory has."""

    name: str
    mark: str


BUNDLE = OutputKind("bundle", "manifest.json")


def check_output(target: Path, force: bool, kind: OutputKind = BUNDLE) -> None:
    """Raise `RequestError` when `target` is there and must not be replaced, or cannot be there."""
    for parent in target.absolute().parents:
        if parent.exists():
            if not parent.is_dir():
                raise RequestError(f"{parent} is a file, not a folder; choose another --out")
            break
    if not target.exists() and not target.is_symlink():
        return
    if not force:
        raise RequestError(f"{target} exists; choose another --out, or replace it with --force")
    is_ours = (target / kind.mark).is_file()
    if not target.is_dir() or target.is_symlink() or not (is_ours or not any(target.iterdir())):
        raise RequestError(
            f"{target} is not a {kind.name}, so --force does not replace it; choose another --out"
        )


@contextlib.contextmanager
def staged_directory(
    target: Path, force: bool, needed: int, kind: OutputKind = BUNDLE
) -> Iterator[Path]:
    """A directory to fill that becomes `target` when the block ends without an error.

    With `force`, one of its kind at `target` is replaced: at every moment there is the old one or
    the new one. `needed` is how many bytes will be written. Raises `RequestError` for a target that
    is in the way and `StorageError` when the disk is full or cannot be written.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow symbolic links
    check_output(target, force, kind)
    staging: Path | None = None
    lock = -1
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        ensure_free(target.parent, needed)
        staging = target.with_name(f".{target.name}{_MARK}{secrets.token_hex(4)}")
        staging.mkdir()
        lock = _lock(staging, wait=True)
        yield staging
        _flush_tree(staging)
        _put_in_place(staging, target)
        _flush_directory(target.parent)
    except OSError as error:
        raise storage_error(error, target, needed) from error
    finally:
        if lock >= 0:
            os.close(lock)
        # After an exchange the old directory has the temporary name.
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _lock(directory: Path, wait: bool) -> int:
    """Hold a lock on a directory until the descriptor is closed; -1 when it is taken."""
    if fcntl is None:
        return -1
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _remove_abandoned(target: Path) -> None:
    """Remove what killed runs for the same target left behind."""
    for leftover in target.parent.glob(f".{target.name}{_MARK}*"):
        lock = _lock(leftover, wait=False) if leftover.is_dir() else -1
        if lock >= 0:
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(lock)


def _put_in_place(staging: Path, target: Path) -> None:
    """Rename `staging` to `target`; a directory that is there is exchanged with it."""
    if not target.exists():
        staging.rename(target)
        return
    if _exchange(staging, target):
        return
    aside = target.with_name(f".{target.name}{_MARK}{secrets.token_hex(4)}")
    target.rename(aside)
    try:
        staging.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two directories in one step where the system can: Linux and macOS."""
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None)
    a, b = os.fsencode(first), os.fsencode(second)
    if sys.platform == "linux" and hasattr(libc, "renameat2"):
        at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        return bool(libc.renameat2(at_cwd, a, at_cwd, b, exchange) == 0)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        swap = 2  # RENAME_SWAP
        return bool(libc.renamex_np(a, b, swap) == 0)
    return False


def _flush_tree(directory: Path) -> None:
    """Flush every file and directory to the disk."""
    for parent, _, names in os.walk(directory):
        for name in names:
            with (Path(parent) / name).open("rb+") as file:
                os.fsync(file.fileno())
        _flush_directory(Path(parent))


def _flush_directory(directory: Path) -> None:
    if os.name != "posix":
        return  # Windows cannot open a directory
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
