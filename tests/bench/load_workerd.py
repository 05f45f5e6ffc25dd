"""The row of `bench_load` for workerd, which has one thread.

The limits of production, 128 MB of memory, do not hold here: a model that is larger is measured to
compare hosts. The bundle's files come through workerd's own service of a folder.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

from tests.bench.load_job import CONTEXT, ROOT, SHORT_PROMPT, Job, Measured, Rows
from tests.edge.hosts import MODULES

__all__ = ["workerd_rows"]

PROGRAMS = Path(__file__).parent / "programs"
CLIENT = ROOT / "web" / "dist"
NAME = "workerd, 1 thread"
SECONDS = 900


def workerd_rows(job: Job) -> Rows:
    """One row."""
    program = next(MODULES.glob("@cloudflare/workerd-*/bin/workerd"), None)
    if program is None:
        return {NAME: "see `make hosts`"}
    if not (CLIENT / "workerd" / "mlr.js").is_file():
        return {NAME: "the npm package is not built, see `make package`"}
    return {NAME: partial(_measure, program, job)}


def _measure(program: Path, job: Job) -> Measured:
    with _serve(program, job.bundle.resolve()) as (process, ask):
        ask({})  # the Worker starts with the first request, and imports
        idle, programs = _resident(process, "RssAnon"), _resident(process, "RssFile")
        load_ms = ask({"contextLength": CONTEXT})
        first_token_ms = ask({"prompt": SHORT_PROMPT, "maxTokens": 1})
        ask({"prompt": job.long_prompt, "maxTokens": 2})
        now = _resident(process, "RssFile")
        return Measured(
            load_ms,
            first_token_ms,
            peak_bytes=_resident(process, "VmHWM") - now - idle,
            program_bytes=now - programs,
            worker_bytes=0,
        )


@contextmanager
def _serve(program: Path, bundle: Path) -> Iterator[tuple[int, Callable[[Any], float]]]:
    """A running workerd's id, and a function that posts to it and gives the milliseconds."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copyfile(PROGRAMS / "worker.mjs", folder / "worker.mjs")
        shutil.copyfile(CLIENT / "workerd" / "mlr.js", folder / "mlr.js")
        shutil.copyfile(CLIENT / "kernel-relaxed.wasm", folder / "kernel.wasm")
        config = (PROGRAMS / "worker.capnp").read_text(encoding="utf-8")
        file = folder / "worker.capnp"
        file.write_text(config.replace("BUNDLE_FOLDER", json.dumps(str(bundle))), encoding="utf-8")
        # workerd says on a pipe which port it took; 1 is its standard output
        process = subprocess.Popen(
            [program, "serve", str(file), "--control-fd=1"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            port = json.loads(process.stdout.readline())["port"]
            yield process.pid, partial(_ask, f"http://127.0.0.1:{port}/")
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()


def _ask(url: str, asked: Any) -> float:
    start = time.perf_counter()
    with urlopen(Request(url, json.dumps(asked).encode()), timeout=SECONDS) as response:
        response.read()
    return (time.perf_counter() - start) * 1e3


def _resident(process: int, field: str) -> int:
    """VmHWM, RssAnon or RssFile of a process in bytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    (kilobytes,) = re.findall(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(kilobytes)
