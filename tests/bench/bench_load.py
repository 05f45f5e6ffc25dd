"""Loading from a warm cache, the first token, and peak memory, in every host and its peers.

    python -m tests.bench.bench_load [MODEL.gguf BUNDLE] [--threads 2] [--repeats 3] [--only HOST …]

in the repository's root, on Linux; the page and the npm package have to be built (`make page
package`). Hosts take turns, each time in a fresh process; a peer that is not
there (llama-cpp-python, wllama) is left out.

load         from the call of `load` to a model that is ready. The files are in the machine's page
             cache, in a browser in its storage: each has loaded the model once before.
first token  the first `generate` of the process, a short prompt and one token: the kernel's code
             is cold.
peak memory  the most that is resident while it loads, answers the short prompt and then one that
             fills the context, so that the KV cache is in memory (wllama clears its cache at the
             start, and gets none), less the same host idle: with the library imported, no model
             loaded. So it is what the model costs whoever has the host anyway. Everything that
             loading brings in counts (wasmtime, an engine's modules, workers), also what an
             operating system could take back.
 of a process  its resident set, of which the system keeps the maximum; idle is after the import of
             what loads (`from mlr import load_sync`, `from llama_cpp import Llama`).
 of a browser  what all its processes have allocated (shared pages divided among them), sampled
             while it works, and its programs' pages that are in memory at the end. Idle is a visit
             of its own, when it has settled: the page with its module imported, and for Python a
             worker in which Python has started, from the snapshot that loading starts it from,
             and has imported mlr.
ratio        peak memory over the weights and the KV cache, as mlr's kernel lays them out.
without host of a process, peak memory without what the host takes for any program of so many
             threads: empty workers (Node.js, Deno), and pages of programs and libraries, which
             processes share and a system takes back at will. Files of weights count.
with page    of a browser, the peak above an empty page instead: with the page's code and Python.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.table import Table

import mlr
from tests.bench.bench_browser import (
    CHROMIUM_FLAGS,
    MLR_PAGE,
    TIMEOUT_MS,
    WLLAMA_VERSION,
    check_same_weights,
    install_wllama,
)
from tests.bench.browser_memory import children, peak, resident
from tests.bench.file_server import serve_files
from tests.bench.measure import DEMO_BUNDLE, DEMO_MODEL, long_prompts, machine, model_tokenizer
from tests.conftest import find_chromium
from tests.edge.hosts import MODULES, terminal

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"
CLIENT = ROOT / "web" / "dist"
CONTEXT = 640
FILLING = 600  # tokens of the long prompt
SHORT_PROMPT = "The capital of France is"
SETTLE_SECONDS = 5.0  # until a browser has tidied up after starting

# JavaScript that loads from a URL, and that answers a prompt with as many tokens.
MLR_LOAD = """async ([url, threads, contextLength]) => {
  globalThis.model = await mlr.load(new URL(url, location.href).href, {threads, contextLength});
}"""
MLR_GENERATE = "([prompt, maxTokens]) => model.generate(prompt, {maxTokens, temperature: 0})"
START_PYTHON = """() => new Promise((resolve, reject) => {
  globalThis.python = new Worker("/pages/python.mjs", {type: "module"});
  python.onerror = reject;
  python.onmessage = ({data: {type, name, message}}) => {
    if (type !== "progress") name === "FetchError" ? resolve() : reject(new Error(message));
  };
})"""


@dataclass(frozen=True)
class BrowserHost:
    """JavaScript for a page: when it is ready, what it is idle with, how to load and generate."""

    path: str
    ready: str
    model: str  # its URL
    load: str = MLR_LOAD
    generate: str = MLR_GENERATE
    idle: str = "() => {}"
    fills_context: bool = True


BROWSER_HOSTS = {
    "Chromium, Python": BrowserHost(
        "/index.html", "Boolean(globalThis.mlr?.load)", "/bundle/", idle=START_PYTHON
    ),
    "Chromium, JavaScript": BrowserHost(
        "/pages/client.html", "Boolean(globalThis.mlr?.load)", "/bundle/"
    ),
    "wllama, Chromium": BrowserHost(
        "/pages/wllama.html",
        "globalThis.ready",
        "/model.gguf",
        "([url, threads, context]) => openModel(url, threads, context)",
        "([prompt, count]) => complete(prompt, count)",
        fills_context=False,
    ),
}

# load_ms, first_token_ms, peak_bytes; of processes program_bytes and worker_bytes of these; of
# browsers page_bytes: above an empty page
Measured = dict[str, float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=DEMO_MODEL, help="for the peers")
    parser.add_argument("bundle", type=Path, nargs="?", default=DEMO_BUNDLE, help="for mlr")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="hosts whose names contain one of these")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    check_same_weights(options.model, options.bundle)
    with mlr.load_sync(options.bundle, threads=options.threads, context_length=CONTEXT) as model:
        memory = model.info.memory
    long = next(long_prompts(model_tokenizer(options.model), FILLING))
    with ExitStack() as stack:
        hosts = _processes(options, long) | _browsers(options, long, stack)
        if options.only:
            hosts = {
                name: measure
                for name, measure in hosts.items()
                if any(part in name for part in options.only)
            }
        results: dict[str, list[Measured]] = {name: [] for name in hosts}
        for turn in range(options.repeats + 1):
            for name, measure in hosts.items():
                result = measure()
                if turn:  # the first one fills the caches
                    results[name].append(result)
    report(results, memory.weights + memory.kv_cache, options)


def _processes(options: argparse.Namespace, long: str) -> dict[str, Callable[[], Measured]]:
    numbers = [str(options.threads), str(CONTEXT), SHORT_PROMPT, long]
    program = [sys.executable, str(PROGRAMS / "load.py")]
    workers: dict[str, Callable[[], Any]] = {}
    commands = {"CPython, wasmtime": [*program, "mlr", str(options.bundle), *numbers]}
    node = shutil.which("node")
    hosts = {"Node.js": ([node], "node")} if node else {}
    if (MODULES / ".installed").is_file():  # by `make hosts`
        hosts["Node.js 24"] = (terminal("node 24"), "node")
        hosts["Deno"] = (terminal("deno"), "deno")
    if CLIENT.is_dir():
        for name, (program_of_host, folder) in hosts.items():
            module = (CLIENT / folder / "mlr.js").as_uri()
            job = [str(PROGRAMS / "load.mjs"), module, str(options.bundle.resolve()), *numbers]
            commands[name] = [*program_of_host, *job]
            empty = [*program_of_host, str(PROGRAMS / "workers.mjs"), str(options.threads)]
            workers[name] = partial(_print_of, empty)
    if importlib.util.find_spec("llama_cpp"):
        commands["llama.cpp, native"] = [*program, "llama_cpp", str(options.model), *numbers]

    def measure(name: str) -> Measured:
        result: Measured = _print_of(commands[name])
        return result | {"worker_bytes": workers.get(name, int)()}

    return {name: partial(measure, name) for name in commands}


def _print_of(command: list[str]) -> Any:
    """What a program prints last, in JSON."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def _browsers(
    options: argparse.Namespace, long: str, stack: ExitStack
) -> dict[str, Callable[[], Measured]]:
    mounts = {
        "/pages": Path(__file__).parent / "pages",
        "/client": CLIENT,
        "/model.gguf": options.model,
        "/bundle": options.bundle,
        "": MLR_PAGE,
    }
    names = list(BROWSER_HOSTS)
    try:
        mounts = {"/wllama": install_wllama(), **mounts}
    except (OSError, subprocess.CalledProcessError):
        names.remove("wllama, Chromium")
    if not CLIENT.is_dir():
        names.remove("Chromium, JavaScript")
    url = stack.enter_context(serve_files(mounts))
    folder = Path(stack.enter_context(TemporaryDirectory()))
    return {
        name: partial(_in_chromium, name, url, folder / name, options.threads, long)
        for name in names
    }


def _in_chromium(name: str, url: str, profile: Path, threads: int, long: str) -> Measured:
    """Two visits with the profile of those before: one that stays idle, one with the model."""
    host = BROWSER_HOSTS[name]
    with _visit(host, url, profile) as (page, roots, empty):
        page.evaluate(host.idle)
        time.sleep(SETTLE_SECONDS)
        idle = resident(roots) - empty
    with _visit(host, url, profile) as (page, roots, empty), peak(roots) as samples:
        start = time.perf_counter()
        page.evaluate(host.load, [host.model, threads, CONTEXT])
        loaded = time.perf_counter()
        page.evaluate(host.generate, [SHORT_PROMPT, 1])
        answered = time.perf_counter()
        if host.fills_context:
            page.evaluate(host.generate, [long, 2])
    return {
        "load_ms": (loaded - start) * 1e3,
        "first_token_ms": (answered - loaded) * 1e3,
        "peak_bytes": max(samples) - empty - idle,
        "page_bytes": max(samples) - empty,
    }


@contextmanager
def _visit(host: BrowserHost, url: str, profile: Path) -> Iterator[tuple[Page, set[int], int]]:
    """The page in a new browser, its processes, and what they took with an empty page."""
    with sync_playwright() as playwright:
        before = children(os.getpid())
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=find_chromium(), args=CHROMIUM_FLAGS
        )
        context.set_default_timeout(TIMEOUT_MS)
        roots = children(os.getpid()) - before
        page = context.new_page()
        page.goto(url + "/pages/empty.html")
        time.sleep(SETTLE_SECONDS)
        empty = resident(roots)
        page.goto(url + host.path)
        page.wait_for_function(host.ready)
        yield page, roots, empty
        context.close()


def report(results: dict[str, list[Measured]], base: int, options: argparse.Namespace) -> None:
    """Print a table, or one JSON object."""
    if options.json:
        print(json.dumps({"weights_and_cache_bytes": base, "hosts": results}))
        return
    table = Table(title="loading from a warm cache, the first token, peak memory")
    table.add_column("")
    headings = ("load, ms", "first token, ms", "peak, MB", "ratio", "without host", "with page, MB")
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, runs in results.items():
        peaks = [run["peak_bytes"] for run in runs]
        own = [
            run["peak_bytes"] - run["program_bytes"] - run["worker_bytes"]
            for run in runs
            if "program_bytes" in run
        ]
        pages = [run["page_bytes"] / 1e6 for run in runs if "page_bytes" in run]
        table.add_row(
            name,
            _spread([run["load_ms"] for run in runs]),
            _spread([run["first_token_ms"] for run in runs]),
            _spread([peak / 1e6 for peak in peaks]),
            f"{median(peaks) / base:.2f}×",
            f"{median(own) / 1e6:.0f}, {median(own) / base:.2f}×" if own else "",
            _spread(pages) if pages else "",
        )
    console = Console()
    console.print(table)
    console.print(
        f"medians (and ranges) of {options.repeats} runs in turns; {options.threads} threads, a "
        f"context of {CONTEXT}; weights and KV cache {base / 1e6:.0f} MB; wllama "
        f"{WLLAMA_VERSION}; {machine()}",
        highlight=False,
    )


def _spread(values: list[float]) -> str:
    return f"{median(values):.0f} ({min(values):.0f}–{max(values):.0f})"


if __name__ == "__main__":
    main()
