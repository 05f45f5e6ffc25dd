"""Progress of long steps: a bar on a terminal, a few plain lines elsewhere. On standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO

__all__ = ["Advance", "Progress", "human_bytes", "open_progress"]

Advance = Callable[[int], None]


def human_bytes(count: int) -> str:
    """A count of bytes for people: 253.1 MB."""
    if count < 1000:
        return f"{count} bytes"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.1f} {units[0]}"


class Progress(Protocol):
    """What long steps report to."""

    def step(self, title: str, total: int) -> contextlib.AbstractContextManager[Advance]:
        """A step over `total` bytes. Call what it gives with each advance."""
        ...

    def note(self, text: str) -> None:
        """A line to be read."""
        ...


class _PlainProgress:
    """One line when a step begins and one at each quarter."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def note(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the work goes on where this cannot be written
            print(text, file=self._stream, flush=True)

    @contextlib.contextmanager
    def step(self, title: str, total: int) -> Iterator[Advance]:
        done = quarter = 0
        self.note(f"{title} ({human_bytes(total)})")

        def advance(count: int) -> None:
            nonlocal done, quarter
            done += count
            reached = 4 * done // total if total else 0
            if reached > quarter:
                quarter = reached
                self.note(f"{title}: {25 * quarter} %")

        yield advance


class _BarProgress:
    """A bar with speed and time left."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    @contextlib.contextmanager
    def step(self, title: str, total: int) -> Iterator[Advance]:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        with bar:
            task = bar.add_task(title, total=total)
            yield lambda count: bar.advance(task, count)


def open_progress(stream: TextIO | None = None) -> Progress:
    """A bar when the stream (by default standard error) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    return _BarProgress(stream) if stream.isatty() else _PlainProgress(stream)
