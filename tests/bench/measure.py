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
    """One quantity, measured several times on two engines (or one); larger is better."""

    quantity: str
    threads: int
    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float | None:
        """Median of ours over median of theirs, where there are theirs."""
        return median(self.ours) / median(self.theirs) if self.theirs else None


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
        text = f"{number} chapters. " + TEXT * (length // 20)
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


def report(
    title: str, names: tuple[str, str], rows: Sequence[Row], notes: Sequence[str], *, as_json: bool
) -> None:
    """Print the rows as a table, or as one JSON object."""
    if as_json:
        data = [asdict(row) | {"ratio": row.ratio} for row in rows]
        print(json.dumps({"title": title, "engines": names, "rows": data, "notes": list(notes)}))
        return
    table = Table(title=title)
    for heading in ("", "threads", *names, "ratio"):
        table.add_column(heading, justify="left" if heading == "" else "right")
    for row in rows:
        table.add_row(
            row.quantity,
            str(row.threads),
            _spread(row.ours),
            _spread(row.theirs),
            f"{row.ratio:.2f}×" if row.ratio else "–",
        )
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note, highlight=False)


def _spread(values: list[float]) -> str:
    """The median, and the range in brackets."""
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else "–"
    return f"{median(values):.1f} ({min(values):.1f}–{max(values):.1f})"
