"""The kernel's phases under wasmtime and in Node; two versions of it side by side.

    python -m tests.bench.bench_kernel [SOURCES …] [--model MODEL.gguf] [--threads 1] [--json]

in the repository's root. SOURCES are directories of kernel sources, one or more, this tree's when
none is given (`git worktree` makes others); all are compiled alike and run in one process, taking
turns. Timed: matrix products of each weight type at the demo model's shapes, a token's decoding
(greedy: after noise no logit stands out, which is hard on a head that looks for the largest), the
prefill of a prompt. The best of many short runs counts, and under wasmtime one thread is timed
by its processor time: other work on the machine disturbs that least.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import wasmtime
from rich.console import Console
from rich.table import Table

from hatch_build import BUILDS, SOURCES, compile_build
from mlr.engines.kernel.abi import PAGE
from mlr.engines.kernel.descriptor import build_descriptor
from mlr.engines.kernel.instance import KernelOptions
from mlr.engines.kernel.wasmtime import _as_extern, plan
from mlr.formats.gguf import read_gguf
from mlr.formats.model_config import ModelConfig
from mlr.formats.source import FileSource
from tests.bench.measure import DEMO_MODEL, machine
from tests.bench.streaming import (
    STREAM,
    STREAM_BYTES,
    STREAM_PASSES,
    STREAM_RUNS,
    bytes_per_token,
    wasmtime_stream,
)
from tests.edge.hosts import node

HERE = Path(__file__).parent
CONTEXT = 1024
TYPES = {"Q4_0": 2, "Q5_0": 6, "Q8_0": 8, "Q4_K": 12, "Q6_K": 14}
SHAPES = {"Q4_K": (640, 2048), "Q6_K": (640, 2048)}  # rows, columns; of the others:
SHAPE = (2048, 640)
TOKENS = (1, 4, 64)
WORK = 300_000_000  # multiplications a product is repeated to, at least


@dataclass(frozen=True)
class Results:
    """What one host measured: `runs[repeat][kernel]` holds seconds in the job's order."""

    host: str
    runs: list[list[list[float]]]
    bandwidth: float | None  # bytes a second of a streaming read in this host

    def best(self, kernel: int, index: int) -> float:
        """The shortest time of one quantity."""
        return min(run[kernel][index] for run in self.runs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path, nargs="*", default=[SOURCES])
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, help="a GGUF file")
    parser.add_argument("--build", choices=BUILDS, help="each host's own when none is named")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument(
        "--node",
        default=_node(),
        help="by default that of `make hosts`, else the one on the path; none to do without",
    )
    parser.add_argument("--only", choices=("products", "model"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows: list[dict[str, Any]] = []
        if options.only != "model":
            rows += products(options, folder)
        if options.only != "products":
            rows += model(options, folder)
    show(options, rows)


def compile_sources(
    options: argparse.Namespace, folder: Path, build: str, extra: list[Path]
) -> list[str]:
    """One module for each directory of sources."""
    paths = []
    for number, sources in enumerate(options.sources):
        path = folder / f"kernel-{build}-{number}.wasm"
        compile_build(BUILDS[build], path, [*sorted(sources.glob("*.c")), *extra], f"-I{sources}")
        paths.append(str(path))
    return paths


def in_hosts(
    options: argparse.Namespace, folder: Path, job: dict[str, Any], extra: list[Path]
) -> list[Results]:
    """The same job under wasmtime and, where it is there, in Node."""
    kernels = compile_sources(options, folder, options.build or "narrow", extra)
    results = [under_wasmtime(job | {"kernels": kernels})]
    if options.node and options.node != "none":
        build = options.build or "relaxed"
        kernels = compile_sources(options, folder, build, extra)
        if options.build is None and not _takes(options.node, kernels[0]):
            build = "simd"
            kernels = compile_sources(options, folder, build, extra)
        path = folder / "job.json"
        path.write_text(json.dumps(job | {"kernels": kernels}), encoding="utf-8")
        command = [options.node, str(HERE / "kernel.mjs"), str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        data = json.loads(done.stdout)
        results.append(Results(f"Node {data['node']}, {build}", data["runs"], data["bandwidth"]))
    return results


def _node() -> str | None:
    newest = node(24)
    return newest if Path(newest).exists() else shutil.which("node")


def _takes(program: str, kernel: str) -> bool:
    """Whether a Node.js runs a build: those before 21 have no relaxed SIMD."""
    script = "WebAssembly.validate(require('fs').readFileSync(process.argv[1]))"
    done = subprocess.run(
        [program, "-p", script, kernel], check=True, capture_output=True, text=True
    )
    return done.stdout.strip() == "true"


def products(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Matrix products by type and number of tokens, in 10^9 multiplications a second."""
    jobs = []
    for (name, number), tokens in product(TYPES.items(), TOKENS):
        rows, cols = SHAPES.get(name, SHAPE)
        repeats = -(-WORK // (rows * cols * tokens))
        jobs.append(
            {"type": number, "rows": rows, "cols": cols, "tokens": tokens, "repeats": repeats}
        )
    job = {
        "pages": 512,
        "products": jobs,
        "repeats": options.repeats,
        "byClock": False,
    }
    names = [f"{name}, {tokens} tokens" for name, tokens in product(TYPES, TOKENS)]
    counts = [j["rows"] * j["cols"] * j["tokens"] * j["repeats"] / 1e9 for j in jobs]
    return [
        {
            "host": result.host,
            "quantity": f"{name}: 10⁹ products/s",
            "rates": [counts[i] / result.best(k, i) for k in range(len(options.sources))],
        }
        for result in in_hosts(options, folder, job, [HERE / "products.c"])
        for i, name in enumerate(names)
    ]


def model(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Tokens a second of prefill and of greedy decoding."""
    source = FileSource(options.model)
    try:
        file = read_gguf(source)
    finally:
        source.close()
    shapes = {tensor.name: tensor.shape for tensor in file.tensors}
    config = ModelConfig.from_gguf(file.metadata, shapes)
    descriptor = build_descriptor(config, file.tensors)
    (folder / "descriptor").write_bytes(descriptor)
    needs = plan(descriptor, KernelOptions(CONTEXT, options.threads, 1, "q16"))
    (folder / "stream.wasm").write_bytes(wasmtime.wat2wasm(STREAM))
    noise = np.random.default_rng(1).integers(100, config.n_vocab - 1, options.prompt_tokens)
    job = {
        "model": str(options.model.resolve()),
        "descriptor": str(folder / "descriptor"),
        "start": min(tensor.offset for tensor in file.tensors),
        # other versions of the kernel may want more than this one
        "pages": int(needs.total_bytes * 1.2) // PAGE,
        "context": CONTEXT,
        "threads": options.threads,
        "prompt": [int(token) for token in noise],
        "newTokens": options.new_tokens,
        "repeats": options.repeats,
        "byClock": options.threads > 1,
        "stream": {
            "path": str(folder / "stream.wasm"),
            "bytes": STREAM_BYTES,
            "passes": STREAM_PASSES,
            "runs": STREAM_RUNS,
        },
    }
    weight_bytes = bytes_per_token(options.model)
    rows: list[dict[str, Any]] = []
    for result in in_hosts(options, folder, job, []):
        kernels = range(len(options.sources))
        decode = [options.new_tokens / result.best(k, 1) for k in kernels]
        prefill = [options.prompt_tokens / result.best(k, 0) for k in kernels]
        title = f"prefill {options.prompt_tokens}: tokens/s"
        rows.append({"host": result.host, "quantity": title, "rates": prefill})
        rows.append({"host": result.host, "quantity": "decode: tokens/s", "rates": decode})
        if options.threads == 1 and result.bandwidth:
            share = [100 * rate * weight_bytes / result.bandwidth for rate in decode]
            title = f"decode: % of a streaming read at {result.bandwidth / 1e9:.1f} GB/s"
            rows.append({"host": result.host, "quantity": title, "rates": share})
    return rows


def show(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table, or as one JSON object."""
    note = f"{options.threads} thread(s), best of {options.repeats}"
    note += f"; {machine()}"
    if options.json:
        print(json.dumps({"kernels": list(map(str, options.sources)), "rows": rows, "note": note}))
        return
    table = Table(title="the kernel, phase by phase")
    table.add_column("host")
    table.add_column("")
    for sources in options.sources:
        table.add_column(str(sources), justify="right")
    for _ in options.sources[1:]:
        table.add_column("ratio", justify="right")
    for row in rows:
        rates = row["rates"]
        ratios = [f"{rate / rates[0]:.2f}×" for rate in rates[1:]]
        table.add_row(row["host"], row["quantity"], *(f"{rate:.1f}" for rate in rates), *ratios)
    console = Console()
    console.print(table)
    console.print(note, highlight=False)


# --- wasmtime, as kernel.mjs does it in Node ---------------------------------------------------


def under_wasmtime(job: dict[str, Any]) -> Results:
    """Run a job here."""
    wasmtime.SharedMemory._as_extern = _as_extern  # type: ignore[method-assign, assignment]
    config = wasmtime.Config()
    config.wasm_threads = config.shared_memory = config.wasm_relaxed_simd = True
    engine = wasmtime.Engine(config)
    kernels = [WasmtimeModule(engine, Path(path), job) for path in job["kernels"]]
    runs = []
    for repeat in range(job["repeats"] + 1):
        times = [kernel.times() for kernel in kernels]
        if repeat:  # the first is for warming up
            runs.append(times)
    for kernel in kernels:
        kernel.close()
    bandwidth = None
    if "stream" in job:
        with wasmtime_stream(1) as stream:
            bandwidth = stream()
    return Results(f"wasmtime {version('wasmtime')}", runs, bandwidth)


class WasmtimeModule:
    """A compiled version of the kernel, on a memory of its own."""

    def __init__(self, engine: wasmtime.Engine, path: Path, job: dict[str, Any]) -> None:
        self._job = job
        self._engine = engine
        self._module = wasmtime.Module(engine, path.read_bytes())
        limits = wasmtime.Limits(job["pages"], job["pages"])
        self._memory: Any = wasmtime.SharedMemory(engine, wasmtime.MemoryType(limits, shared=True))
        self._base = ctypes.addressof(self._memory.data_ptr().contents)
        self.call = self._instance()
        if "model" in job:
            self._load()

    def _instance(self) -> Callable[..., int]:
        store = wasmtime.Store(self._engine)
        exports: Any = wasmtime.Instance(store, self._module, [self._memory]).exports(store)

        def call(name: str, *arguments: float) -> int:
            result = int(exports[name](store, *arguments) or 0)
            if result < 0:
                raise RuntimeError(f"{name} failed: {result}")
            return result

        return call

    def _write(self, address: int, data: bytes) -> None:
        ctypes.memmove(self._base + address, data, len(data))

    def _load(self) -> None:
        job, size = self._job, self.call("mlr_staging_size")
        descriptor = Path(job["descriptor"]).read_bytes()
        self._write(self.call("mlr_staging"), descriptor)
        self.call("mlr_open", len(descriptor), job["context"], job["threads"], 1, 0)
        staging = self.call("mlr_staging")  # another place than before
        with Path(job["model"]).open("rb") as file:
            at = file.seek(job["start"])
            while piece := file.read(size):
                self._write(staging, piece)
                self.call("mlr_feed", float(at), len(piece))
                at += len(piece)
        self.call("mlr_ready")
        self._batch = self.call("mlr_batch")
        for index in range(1, job["threads"]):
            worker = self._instance()
            threading.Thread(target=worker, args=("mlr_worker", index), daemon=True).start()

    def _evaluate(self, tokens: list[int]) -> None:
        for start in range(0, len(tokens), self._batch):
            part = np.array(tokens[start : start + self._batch], np.int32)
            wanted = np.zeros_like(part)
            wanted[-1] = start + len(part) == len(tokens)
            self._write(self.call("mlr_tokens"), part.tobytes())
            self._write(self.call("mlr_token_sequences"), np.zeros_like(part).tobytes())
            self._write(self.call("mlr_wanted"), wanted.tobytes())
            self.call("mlr_eval", len(part))

    def times(self) -> list[float]:
        """Seconds of each of the job's quantities."""
        job = self._job
        clock = time.perf_counter if job["byClock"] else time.thread_time

        def seconds(run: Callable[[], object]) -> float:
            start = clock()
            run()
            return clock() - start

        if "products" in job:
            times = []
            for matrix in job["products"]:
                self.call("bench_prepare", matrix["type"], matrix["rows"], matrix["cols"])
                arguments = (matrix["tokens"], matrix["repeats"])
                times.append(seconds(lambda: self.call("bench_run", *arguments)))  # noqa: B023
            return times
        self.call("mlr_truncate", 0, 0)
        prefill = seconds(lambda: self._evaluate(job["prompt"]))
        self.call("mlr_truncate", 0, 0)
        self._evaluate(job["prompt"][:16])

        def decode() -> None:
            for _ in range(job["newTokens"]):
                self._evaluate([self.call("mlr_sample", 0, 0)])

        return [prefill, seconds(decode)]

    def close(self) -> None:
        """End the threads."""
        if "model" in self._job:
            self.call("mlr_close")


if __name__ == "__main__":
    main()
