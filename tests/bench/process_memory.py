"""What processes take, counted so that other programs on the machine make no difference."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Resident", "children", "peak", "settled"]

SAMPLE_SECONDS = 0.2  # reading the sizes stops the process for a moment
STEADY_SECONDS = 8.0  # for so long a browser that has settled changes by no more than …
STEADY_BYTES = 1_000_000
PATIENCE_SECONDS = 60.0

_SHARED = ("/dev/shm/", "/memfd:")  # memory with a name
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ ([0-9a-f]+) \S+ (\d+) +(/\S+)?")


@dataclass
class Resident:
    """Bytes that processes take: what they allocated, and pages of files that they mapped."""

    allocated: int
    mapped: int


def children(parent: int) -> set[int]:
    """The processes under one, at any depth."""
    found: set[int] = set()
    with suppress(OSError):
        for task in Path(f"/proc/{parent}/task").iterdir():
            for word in (task / "children").read_text(encoding="ascii").split():
                found |= {int(word)} | children(int(word))
    return found


def settled(roots: set[int]) -> Resident:
    """What they take once that has been steady for a while."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    samples: list[int] = []
    needed = round(STEADY_SECONDS / SAMPLE_SECONDS)
    while time.monotonic() < give_up:
        samples = [*samples[1 - needed :], _allocated(roots)]
        if len(samples) == needed and max(samples) - min(samples) <= STEADY_BYTES:
            break
        time.sleep(SAMPLE_SECONDS)
    return Resident(_allocated(roots), _mapped(roots))


@contextmanager
def peak(roots: set[int]) -> Iterator[Resident]:
    """The most that they allocate, or close below; it is there afterwards.

    Of files, which are the browser's programs and stay when they are in, what is in at the end.
    """
    most = Resident(0, 0)
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            most.allocated = max(most.allocated, _allocated(roots))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()
        most.mapped = _mapped(roots)


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
