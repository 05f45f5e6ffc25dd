"""How fast the kernel multiplies each weight type under wasmtime, on one thread.

    python -m tests.bench.bench_types [--types Q4_K Q3_K] [--build simd] [--repeats 7]

in the repository's root. A model of random weights of one type, nearly all of them in its feed-
forward layers, evaluates a token (decode) and 64 at once (prefill), and takes its weights in
(load). Processor time, best of the repeats; the types take turns, so that all meet the same
disturbances.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mlr.engines.kernel.engine import KernelEngine
from mlr.formats.gguf import read_gguf
from mlr.formats.source import FileSource
from tests.bench.measure import machine
from tests.support.kernels import open_kernel
from tests.support.tiny_models import QUANTIZATIONS, tiny_gguf

BASE = "Q4_K"
SHAPE: dict[str, Any] = {"n_layers": 2, "n_embd": 1024, "n_ff": 4096, "n_heads": 8, "head_dim": 64}
DECODED = 8
PREFILLED = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", nargs="+", choices=QUANTIZATIONS, default=QUANTIZATIONS)
    parser.add_argument("--build", choices=("narrow", "relaxed", "simd"), default="narrow")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    types = list(dict.fromkeys([BASE, *options.types]))
    decode: dict[str, float] = {}
    prefill: dict[str, float] = {}
    load: dict[str, float] = {}
    weights: dict[str, int] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines: dict[str, KernelEngine] = {}
        for name in types:
            path = tiny_gguf(folder / f"{name}.gguf", quantization=name, **SHAPE)
            weights[name] = count_weights(path)
            start = time.process_time()
            engines[name] = stack.enter_context(open_kernel(path, build=options.build))
            load[name] = weights[name] / (time.process_time() - start)
        for name in types * options.repeats:
            seconds = seconds_of(engines[name], 1, DECODED)
            decode[name] = max(decode.get(name, 0.0), DECODED * weights[name] / seconds)
            seconds = seconds_of(engines[name], PREFILLED, 1)
            prefill[name] = max(prefill.get(name, 0.0), PREFILLED * weights[name] / seconds)
    table = Table(title=f"G weights/s, one thread, {options.build} build, wasmtime; {machine()}")
    for column in ("type", "decode", f"of {BASE}", "prefill", f"of {BASE}", "load"):
        table.add_column(column, justify="left" if column == "type" else "right")
    for name in types:
        table.add_row(
            name,
            f"{decode[name] / 1e9:.2f}",
            f"{decode[name] / decode[BASE]:.2f}",
            f"{prefill[name] / 1e9:.2f}",
            f"{prefill[name] / prefill[BASE]:.2f}",
            f"{load[name] / 1e9:.2f}",
        )
    Console().print(table)


def count_weights(path: Path) -> int:
    """The weights that every token is multiplied by: the embeddings are the output, too."""
    with FileSource(path) as source:
        return sum(t.elements for t in read_gguf(source).tensors if len(t.shape) > 1)


def seconds_of(engine: KernelEngine, tokens: int, calls: int) -> float:
    """How long `calls` evaluations of `tokens` tokens each take."""
    engine.truncate(0)
    start = time.process_time()
    for _ in range(calls):
        engine.evaluate([5] * tokens)
    return time.process_time() - start


if __name__ == "__main__":
    main()
