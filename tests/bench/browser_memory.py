"""What a browser's processes take, so that other browsers on the machine make no difference."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["children", "peak", "resident"]

SAMPLE_SECONDS = 0.2  # reading the sizes stops the process for a moment

_SHARED = ("/dev/shm/", "/memfd:")  # memory with a name
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ ([0-9a-f]+) \S+ (\d+) +(/\S+)?")


def children(parent: int) -> set[int]:
    """The processes under one, at any depth."""
    found: set[int] = set()
    with suppress(OSError):
        for task in Path(f"/proc/{parent}/task").iterdir():
            for word in (task / "children").read_text(encoding="ascii").split():
                found |= {int(word)} | children(int(word))
    return found


def resident(roots: set[int]) -> int:
    """Bytes that processes and all under them take: what they allocated, and files they mapped."""
    return _allocated(roots) + _mapped(roots)


@contextmanager
def peak(roots: set[int]) -> Iterator[list[int]]:
    """Samples, in bytes: their maximum is the most that `resident` was, or close below.

    Of files, which are the browser's programs and stay when they are in, what is in at the end.
    """
    samples: list[int] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            samples.append(_allocated(roots))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
        mapped = _mapped(roots)
        samples[:] = [size + mapped for size in samples]


def _allocated(roots: set[int]) -> int:
    """Proportional sizes of all that is no file: what processes share is divided among them."""
    total = 0
    for text in _read(roots, "smaps_rollup"):
        for line in text.splitlines():
            if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                total += int(line.split()[1]) * 1024
    return total


def _mapped(roots: set[int]) -> int:
    """Pages of files, each part of a file as the process has it that has most of it.

    A proportional size would depend on who else on the machine runs the same program.
    """
    parts: dict[tuple[str, str], int] = {}
    for text in _read(roots, "smaps"):
        part, size = None, 0
        for line in text.splitlines():
            mapping = _MAPPING.match(line)
            if mapping:
                offset, inode, path = mapping.groups()
                part = (path, offset) if inode != "0" and path else None
            elif line.startswith("Rss:"):
                size = int(line.split()[1]) * 1024
            elif line.startswith("Anonymous:") and part:
                size -= int(line.split()[1]) * 1024  # written to, so the process's own
                parts[part] = max(parts.get(part, 0), size)
    return sum(size for (path, _), size in parts.items() if not path.startswith(_SHARED))


def _read(roots: set[int], name: str) -> Iterator[str]:
    for process in roots.union(*map(children, roots)):
        with suppress(OSError):
            yield Path(f"/proc/{process}/{name}").read_text(encoding="utf-8")
