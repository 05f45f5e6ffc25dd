"""A model in a process of its own: `load.py ENGINE PATH THREADS CONTEXT SHORT LONG`; prints JSON.

ENGINE is mlr or llama_cpp. Peak memory is what the process has resident at most but for pages of
programs, less what it has after the import of what loads: mlr imports nothing until a name is used.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOADERS = {"mlr": "load_sync", "llama_cpp": "Llama"}

Generate = Callable[[str, int], Any]


def resident(field: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def programs() -> int:
    """Bytes of this process in pages of files that it executes, but for those written to."""
    pages: dict[str, int] = {}
    executed: set[str] = set()
    path, size = "", 0
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        words = line.split(maxsplit=5)
        if "-" in words[0]:
            path = words[5] if len(words) > 5 and words[5].startswith("/") else ""
            if "x" in words[1]:
                executed.add(path)
        elif words[0] == "Rss:":
            size = int(words[1]) * 1024
        elif words[0] == "Anonymous:" and path:
            pages[path] = pages.get(path, 0) + size - int(words[1]) * 1024
    return sum(size for path, size in pages.items() if path in executed)


def load(name: str, loader: Any, path: str, threads: int, context: int) -> Generate:
    """A function of a prompt and a number of tokens."""
    if name == "mlr":
        model = loader(path, threads=threads, context_length=context)
        return lambda prompt, count: model.generate(prompt, max_tokens=count)
    llama = loader(
        path,
        n_ctx=context,
        n_threads=threads,
        n_threads_batch=threads,
        n_batch=512,
        verbose=False,
    )
    return lambda prompt, count: llama(prompt, max_tokens=count, temperature=0)


def main() -> None:
    """Load, answer a short prompt, then one that fills the context."""
    name, path, threads, context, short, long = sys.argv[1:]
    loader = getattr(importlib.import_module(name), LOADERS[name])
    executed = programs()
    idle = resident("VmRSS") - executed
    start = time.perf_counter()
    generate = load(name, loader, path, int(threads), int(context))
    loaded = time.perf_counter()
    generate(short, 1)
    answered = time.perf_counter()
    generate(long, 2)
    now = programs()
    result = {
        "load_ms": (loaded - start) * 1e3,
        "first_token_ms": (answered - loaded) * 1e3,
        "peak_bytes": resident("VmHWM") - now - idle,
        "program_bytes": now - executed,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
