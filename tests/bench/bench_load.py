"""Loading from a warm cache, the first token, and peak memory, in every host and its peers.

    python -m tests.bench.bench_load [MODEL.gguf BUNDLE] [--threads 2] [--repeats 3] [--only HOST …]

in the repository's root, on Linux; the page and the npm package have to be built (`make page
package`). Hosts take turns, each time in a fresh process; a peer that is not
there (llama-cpp-python, wllama) is left out.

load         from the call of `load` to a model that is ready. The files are in the machine's page
             cache, in a browser in its storage: each has loaded the model once before.
first token  the first `generate` of the process, a short prompt and one token: the kernel's code
             is cold.
peak memory  after that a prompt fills the context, so that the KV cache is in memory (wllama clears
             its cache at the start, and gets none). A process of its own: the most that it had
             resident, less what it had after importing the library. A browser: proportional set
             sizes (shared pages divided among their users) of all its processes, sampled while it
             works, less the same with an empty page.
ratio        peak memory over the weights and the KV cache, as mlr's kernel lays them out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright
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
from tests.bench.file_server import serve_files
from tests.bench.measure import DEMO_BUNDLE, DEMO_MODEL, long_prompts, machine, model_tokenizer
from tests.conftest import find_chromium

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"
CLIENT = ROOT / "web" / "dist"
CONTEXT = 640
FILLING = 600  # tokens of the long prompt
SHORT_PROMPT = "The capital of France is"
SETTLE_SECONDS = 1.5  # for a browser that has just started
SAMPLE_SECONDS = 0.2  # reading the sizes stops the process for a moment

# JavaScript that loads from a URL, and that answers a prompt with as many tokens.
MLR_LOAD = """async ([url, threads, contextLength]) => {
  globalThis.model = await mlr.load(new URL(url, location.href).href, {threads, contextLength});
}"""
MLR_GENERATE = "([prompt, maxTokens]) => model.generate(prompt, {maxTokens, temperature: 0})"
BROWSER_HOSTS = {  # page, when it is ready, the model's URL, load, generate
    "Chromium, Python": (
        "/index.html",
        "Boolean(globalThis.mlr?.load)",
        "/bundle/",
        MLR_LOAD,
        MLR_GENERATE,
    ),
    "Chromium, JavaScript": (
        "/pages/client.html",
        "Boolean(globalThis.mlr?.load)",
        "/bundle/",
        MLR_LOAD,
        MLR_GENERATE,
    ),
    "wllama, Chromium": (
        "/pages/wllama.html",
        "globalThis.ready",
        "/model.gguf",
        "([url, threads, context]) => openModel(url, threads, context)",
        "([prompt, count]) => complete(prompt, count)",
    ),
}

Measured = dict[str, float]  # load_ms, first_token_ms, peak_bytes


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
    commands = {"CPython, wasmtime": [*program, "mlr", str(options.bundle), *numbers]}
    node = shutil.which("node")
    if node and CLIENT.is_dir():
        module = (CLIENT / "node" / "mlr.js").as_uri()
        script = str(PROGRAMS / "load.mjs")
        commands["Node.js"] = [node, script, module, str(options.bundle.resolve()), *numbers]
    if importlib.util.find_spec("llama_cpp"):
        commands["llama.cpp, native"] = [*program, "llama_cpp", str(options.model), *numbers]

    def measure(command: list[str]) -> Measured:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        result: Measured = json.loads(done.stdout.splitlines()[-1])
        return result

    return {name: partial(measure, command) for name, command in commands.items()}


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
    """One visit with the profile of the visits before."""
    path, ready, model, load, generate = BROWSER_HOSTS[name]
    with sync_playwright() as playwright:
        before = _children(os.getpid())
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=find_chromium(), args=CHROMIUM_FLAGS
        )
        context.set_default_timeout(TIMEOUT_MS)
        roots = _children(os.getpid()) - before
        page = context.new_page()
        page.goto(url + "/pages/empty.html")
        time.sleep(SETTLE_SECONDS)
        baseline = _proportional(roots)
        with _peak(roots) as peak:
            page.goto(url + path)
            page.wait_for_function(ready)
            start = time.perf_counter()
            page.evaluate(load, [model, threads, CONTEXT])
            loaded = time.perf_counter()
            page.evaluate(generate, [SHORT_PROMPT, 1])
            answered = time.perf_counter()
            if "wllama" not in name:
                page.evaluate(generate, [long, 2])
        context.close()
    return {
        "load_ms": (loaded - start) * 1e3,
        "first_token_ms": (answered - loaded) * 1e3,
        "peak_bytes": max(peak) - baseline,
    }


@contextmanager
def _peak(roots: set[int]) -> Iterator[list[int]]:
    """Samples of what the processes under `roots` take, in bytes."""
    samples: list[int] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            samples.append(_proportional(roots))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def _children(parent: int) -> set[int]:
    """The processes under one, at any depth."""
    found: set[int] = set()
    with suppress(OSError):
        for task in Path(f"/proc/{parent}/task").iterdir():
            for word in (task / "children").read_text(encoding="ascii").split():
                found |= {int(word)} | _children(int(word))
    return found


def _proportional(roots: set[int]) -> int:
    """The proportional set sizes of processes and all under them, in bytes."""
    total = 0
    for process in roots.union(*map(_children, roots)):
        with suppress(OSError):
            text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
            total += next(
                int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")
            )
    return total


def report(results: dict[str, list[Measured]], base: int, options: argparse.Namespace) -> None:
    """Print a table, or one JSON object."""
    if options.json:
        print(json.dumps({"weights_and_cache_bytes": base, "hosts": results}))
        return
    table = Table(title="loading from a warm cache, the first token, peak memory")
    table.add_column("")
    for heading in ("load, ms", "first token, ms", "peak, MB", "ratio"):
        table.add_column(heading, justify="right")
    for name, runs in results.items():
        peaks = [run["peak_bytes"] for run in runs]
        table.add_row(
            name,
            _spread([run["load_ms"] for run in runs]),
            _spread([run["first_token_ms"] for run in runs]),
            _spread([peak / 1e6 for peak in peaks]),
            f"{median(peaks) / base:.2f}×",
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
