"""What commands print besides the answer: JSON, sizes, tables, progress, memory."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlr.hosts.base import LoadProgress, ProgressCallback

__all__ = [
    "format_bytes",
    "format_rate",
    "load_progress",
    "peak_memory_bytes",
    "print_json",
    "print_table",
]


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object and nothing else on standard output."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2), flush=True)


def format_bytes(count: int) -> str:
    """A size for people, in binary units."""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 3)
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def format_rate(tokens_per_second: float | None) -> str:
    """A speed for people; `-` when there was too little to measure."""
    return "-" if tokens_per_second is None else f"{tokens_per_second:.1f} tokens/s"


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values: a drawn table on a terminal, aligned lines elsewhere."""
    print(title)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(show_header=False)
        for name, value in rows:
            table.add_row(name, value)
        Console().print(table)
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")


@contextlib.contextmanager
def load_progress(name: str) -> Iterator[ProgressCallback | None]:
    """Yield what to pass as `on_progress`: a bar on a terminal, None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        verbs = {"fetch": "Fetching", "load": "Loading"}
        tasks: dict[str, TaskID] = {}  # what arrives is loaded at once: the stages overlap

        def report(progress: LoadProgress) -> None:
            stage = progress.stage
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{verbs.get(stage, stage)} {name}", total=None)
            bars.update(tasks[stage], completed=progress.done, total=progress.total or None)

        yield report


def peak_memory_bytes() -> int | None:
    """The largest resident set this process has had, in bytes; None where it cannot be known."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
