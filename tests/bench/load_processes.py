"""Rows of `bench_load` for hosts that are a process which runs a program and ends."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.load_job import CONTEXT, ROOT, SHORT_PROMPT, Job, Measured, Rows
from tests.edge.hosts import MODULES, terminal

__all__ = ["process_rows"]

PROGRAMS = Path(__file__).parent / "programs"
CLIENT = ROOT / "web" / "dist"


def process_rows(job: Job) -> Rows:
    """CPython, llama.cpp, Node.js and Deno."""
    python = [sys.executable, str(PROGRAMS / "load.py")]
    given = [str(job.threads), str(CONTEXT), SHORT_PROMPT, job.long_prompt]
    rows: Rows = {
        "CPython, wasmtime": partial(_measure, [*python, "mlr", str(job.bundle), *given]),
        "llama.cpp, native": "llama-cpp-python is not installed",
    }
    if importlib.util.find_spec("llama_cpp"):
        command = [*python, "llama_cpp", str(job.model), *given]
        rows["llama.cpp, native"] = partial(_measure, command)

    installed = (MODULES / ".installed").is_file()
    node = shutil.which("node")
    hosts = {
        "Node.js": ("node", [node] if node else "there is no node"),
        "Node.js 24": ("node", terminal("node 24") if installed else "see `make hosts`"),
        "Deno": ("deno", terminal("deno") if installed else "see `make hosts`"),
    }
    for name, (folder, program) in hosts.items():
        module = CLIENT / folder / "mlr.js"
        if isinstance(program, str):
            rows[name] = program
        elif not module.is_file():
            rows[name] = "the npm package is not built, see `make package`"
        else:
            job_of_host = [module.as_uri(), str(job.bundle.resolve()), *given]
            empty = [*program, str(PROGRAMS / "workers.mjs"), str(job.threads)]
            command = [*program, str(PROGRAMS / "load.mjs"), *job_of_host]
            rows[name] = partial(_measure, command, empty)
    return rows


def _measure(command: list[str], empty_workers: list[str] | None = None) -> Measured:
    worker_bytes = _print_of(empty_workers) if empty_workers else 0
    return Measured(**_print_of(command), worker_bytes=worker_bytes)


def _print_of(command: list[str]) -> Any:
    """What a program prints last, in JSON."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])
