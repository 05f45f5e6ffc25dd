"""The fuzzers by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.architectures import architecture_fuzzer
from tests.fuzz.gguf_file import gguf_fuzzer
from tests.fuzz.kernel_memory import call_fuzzer, descriptor_fuzzer, weight_fuzzer

__all__ = ["TARGETS", "open_target"]

TARGETS = ("gguf", "descriptor", "calls", "weights", "architectures")

Fuzz = Callable[[random.Random], None]


@contextmanager
def open_target(name: str, folder: Path) -> Iterator[Fuzz]:
    """A function that runs one round, with a folder for its files."""
    if name == "calls":
        with call_fuzzer(folder) as fuzz:
            yield fuzz
        return
    makers = {
        "gguf": gguf_fuzzer,
        "descriptor": descriptor_fuzzer,
        "weights": weight_fuzzer,
        "architectures": architecture_fuzzer,
    }
    yield makers[name](folder)
