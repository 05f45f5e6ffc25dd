"""What `bench_load` has every host do, and what it measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CONTEXT", "ROOT", "SHORT_PROMPT", "Job", "Measured", "Rows"]

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = 640
SHORT_PROMPT = "The capital of France is"


@dataclass(frozen=True)
class Job:
    """The model, for peers and for mlr, and how it is run."""

    model: Path
    bundle: Path
    threads: int
    long_prompt: str  # fills the context
    only: list[str] | None  # parts of the names of hosts

    def wants(self, host: str) -> bool:
        """Whether this host is to be measured."""
        return self.only is None or any(part in host for part in self.only)


@dataclass(frozen=True)
class Measured:
    """One run. Bytes are those above the idle host.

    `peak_bytes` is what was allocated, `worker_bytes` what empty workers take of it, and
    `program_bytes` pages of files that the host executes or maps besides. `page_bytes`, of
    browsers, is the peak above an empty page.
    """

    load_ms: float
    first_token_ms: float
    peak_bytes: int
    program_bytes: int
    worker_bytes: int
    page_bytes: int | None = None


# By the host's name what measures it, or why it is left out.
Rows = dict[str, Callable[[], Measured] | str]
