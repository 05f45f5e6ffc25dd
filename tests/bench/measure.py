"""What the benchmarks share: medians, what machine this is, a table, the prompts."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from mlr.formats.gguf import read_gguf
from mlr.formats.source import FileSource
from mlr.tokenizer import Tokenizer, from_gguf

__all__ = [
    "DECODE_PROMPT",
    "DEMO_BUNDLE",
    "DEMO_MODEL",
    "Row",
    "long_prompts",
    "machine",
    "model_tokenizer",
    "report",
]

ROOT = Path(__file__).resolve().parents[2]
DEMO_MODEL = Path(
    os.environ.get("MLR_DEMO_GGUF", ROOT / ".cache" / "models" / "gemma-3-270m-q4_k_m.gguf")
)
DEMO_BUNDLE = ROOT / "bundles" / "gemma-3-270m"  # where `make demo-model` puts it

DECODE_PROMPT = "one, two, three, four, five, six, seven,"  # goes on for as long as one likes

TEXT = (
    "The lighthouse had stood on the headland for two hundred years before anyone thought to "
    "ask who had built it. Fishermen steered by it, gulls nested in it, and the village below "
    "told its children that it had grown there, like a tree. "
)


@dataclass(frozen=True)
class Row:
    """One quantity, measured several times on one engine or more; larger is better."""

    quantity: str
    threads: int
    rates: dict[str, list[float]]  # by engine, the one that the others are compared with first

    def ratios(self) -> dict[str, float]:
        """The first engine's median over that of each of the others."""
        (_, ours), *others = self.rates.items()
        return {name: median(ours) / median(theirs) for name, theirs in others}

    def gains(self, fewer: Row) -> dict[str, float]:
        """Each engine's median over its own with fewer threads."""
        return {name: median(r) / median(fewer.rates[name]) for name, r in self.rates.items()}


def model_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a GGUF file."""
    source = FileSource(path)
    try:
        return from_gguf(read_gguf(source).metadata)
    finally:
        source.close()


def long_prompts(tokenizer: Tokenizer, length: int) -> Iterator[str]:
    """Prompts of exactly `length` tokens, no two of which begin alike.

    They differ from the first word on, so that no engine can reuse what it computed before.
    """
    number = 0
    while True:
        number += 1
        text = f"{number} chapters. " + TEXT * (length // 20 + 1)
        text = tokenizer.decode(tokenizer.encode(text)[:length])
        if len(tokenizer.encode(text)) == length:
            yield text


def machine() -> str:
    """The processor, its cores, and how busy it is."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {os.cpu_count()} cores, {platform.system()}{load}"


def report(title: str, rows: Sequence[Row], notes: Sequence[str], *, as_json: bool) -> None:
    """Print rows of the same engines, and what several threads gain, as tables or as JSON."""
    fewest = min(row.threads for row in rows)
    base = {row.quantity: row for row in rows if row.threads == fewest}
    gains = [(row, row.gains(base[row.quantity])) for row in rows if row.threads > fewest]
    if as_json:
        data = {
            "title": title,
            "rows": [asdict(row) | {"ratios": row.ratios()} for row in rows],
            "gains": [
                {"quantity": row.quantity, "threads": row.threads, "against": fewest, "gains": gain}
                for row, gain in gains
            ],
            "notes": list(notes),
        }
        print(json.dumps(data))
        return
    ours, *others = rows[0].rates
    table = Table("", title=title)
    for heading in ("threads", ours, *others, *(f"{ours} / {name}" for name in others)):
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [*map(_spread, row.rates.values()), *map(_times, row.ratios().values())]
        table.add_row(row.quantity, str(row.threads), *cells)
    console = Console()
    console.print(table)
    if gains:
        table = Table("", title="more threads against fewer, each engine's own")
        for heading in ("threads", ours, *others):
            table.add_column(heading, justify="right")
        for row, gain in gains:
            threads = f"{row.threads} against {fewest}"
            table.add_row(row.quantity, threads, *map(_times, gain.values()))
        console.print(table)
    for note in notes:
        console.print(note, highlight=False)


def _times(ratio: float) -> str:
    return f"{ratio:.2f}×"


def _spread(values: list[float]) -> str:
    """The median, and the range in brackets."""
    if len(values) < 2:
        return f"{values[0]:.1f}"
    return f"{median(values):.1f} ({min(values):.1f}–{max(values):.1f})"
