"""Loading from a warm cache, the first token, and peak memory, in every host and its peers.

    python -m tests.bench.bench_load [MODEL.gguf BUNDLE] [--threads 2] [--repeats 3] [--only HOST …]

in the repository's root, on Linux; the page and the npm package have to be built (`make page
package`). Hosts take turns, each time in a fresh process; those that are not there are named and
left out. workerd has one thread, and takes this model only because production's limits of memory
do not hold here.

load         from the call of `load` to a model that is ready. The files are in the machine's page
             cache, in a browser in its storage: each has loaded the model once before.
first token  the first `generate` of the process, a short prompt and one token: the kernel's code
             is cold.
peak memory  the most that is allocated while it loads, answers the short prompt and then one that
             fills the context, so that the KV cache is in memory (wllama clears its cache at the
             start, and gets none), less the same host idle: with the library imported, no model
             loaded. So it is what the model costs whoever has the host anyway. Everything that
             loading brings in counts: wasmtime, an engine's modules, workers. As in Chromium's
             task manager, unchanged pages of programs' files do not: processes share them, and a
             system drops them at will. Files of weights do.
 of a process  its resident set, of which the system keeps the maximum, without programs' pages at
             the end; idle is after the import of what loads (`from mlr import load_sync`, `from
             llama_cpp import Llama`).
 of a browser  what all its processes have allocated (shared pages divided among them), sampled
             while it works. Idle is the page with its module imported, when it has settled, and
             for Python a worker in which Python has started, from the snapshot that loading starts
             it from, and has imported mlr: what that takes is measured in a visit of its own.
ratio        peak memory over the weights and the KV cache, as mlr's kernel lays them out.
workers      of the peak, what as many empty workers take (in browsers, Node.js, Deno).
programs     pages of programs' files that came into memory besides.
with page    of a browser, the peak above an empty page instead: with the page's code and Python.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

import mlr
from tests.bench.bench_browser import WLLAMA_VERSION, check_same_weights
from tests.bench.load_browsers import browser_rows
from tests.bench.load_job import CONTEXT, Job, Measured
from tests.bench.load_processes import process_rows
from tests.bench.load_workerd import workerd_rows
from tests.bench.measure import DEMO_BUNDLE, DEMO_MODEL, long_prompts, machine, model_tokenizer

FILLING = 600  # tokens of the long prompt


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
    job = Job(options.model, options.bundle, options.threads, long, options.only)
    with ExitStack() as stack:
        rows = process_rows(job) | workerd_rows(job) | browser_rows(job, stack)
        wanted = {name: row for name, row in rows.items() if job.wants(name)}
        left_out = {name: row for name, row in wanted.items() if isinstance(row, str)}
        results: dict[str, list[Measured]] = {name: [] for name in wanted if name not in left_out}
        for turn in range(options.repeats + 1):
            for name, measure in wanted.items():
                if isinstance(measure, str):
                    continue
                result = measure()
                if turn:  # the first one fills the caches
                    results[name].append(result)
    report(results, left_out, memory.weights + memory.kv_cache, options)


def report(
    results: dict[str, list[Measured]],
    left_out: dict[str, str],
    base: int,
    options: argparse.Namespace,
) -> None:
    """Print a table, or one JSON object. `base` is the bytes of weights and KV cache."""
    if options.json:
        hosts = {name: [asdict(run) for run in runs] for name, runs in results.items()}
        print(json.dumps({"weights_and_cache_bytes": base, "hosts": hosts, "left_out": left_out}))
        return
    table = Table(title="loading from a warm cache, the first token, peak memory")
    table.add_column("")
    for heading in ("load, ms", "first token, ms", "peak, MB", "ratio"):
        table.add_column(heading, justify="right")
    for heading in ("workers, MB", "programs, MB", "with page, MB"):
        table.add_column(heading, justify="right")
    for name, runs in results.items():
        peaks = [run.peak_bytes for run in runs]
        pages = [run.page_bytes / 1e6 for run in runs if run.page_bytes is not None]
        table.add_row(
            name,
            _spread([run.load_ms for run in runs]),
            _spread([run.first_token_ms for run in runs]),
            _spread([peak / 1e6 for peak in peaks]),
            f"{median(peaks) / base:.3f}×",
            f"{median(run.worker_bytes for run in runs) / 1e6:.0f}",
            f"{median(run.program_bytes for run in runs) / 1e6:.0f}",
            _spread(pages) if pages else "",
        )
    console = Console()
    console.print(table)
    for name, reason in left_out.items():
        console.print(f"left out: {name}: {reason}", highlight=False)
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
