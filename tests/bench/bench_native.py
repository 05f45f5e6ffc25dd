"""mlr's kernel under wasmtime against llama.cpp, compiled for this machine.

    python -m tests.bench.bench_native [MODEL.gguf] [--threads 1 2] [--repeats 3] [--json]

in the repository's root; the demo model when none is named. Both get the same file, the same token
ids and the same number of threads, and take turns. Also measured: how fast this machine reads
memory in WebAssembly, which bounds decoding, since every token reads nearly every weight. Without
llama-cpp-python (`make test-oracles` installs it) mlr is measured alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import wasmtime

from mlr.engines.base import Sampling
from mlr.engines.kernel.engine import KernelEngine
from mlr.formats.gguf import read_gguf
from mlr.formats.source import FileSource
from tests.bench.measure import (
    DECODE_PROMPT,
    DEMO_MODEL,
    Row,
    long_prompts,
    machine,
    model_tokenizer,
    report,
)
from tests.support.kernels import open_kernel
from tests.support.llama_oracle import open_model

CONTEXT = 1024
WARM_UP_TOKENS = 8
LLAMA_CPP = version("llama-cpp-python") if find_spec("llama_cpp") else None

# Writes all of its memory (pages never written to share one page of zeros, which would be read
# from the cache); reads it, 64 bytes at a time, into something that depends on every byte.
STREAM = """
(module
  (memory (export "memory") 8192)
  (func (export "write") (memory.fill (i32.const 0) (i32.const 85) (i32.const 0x20000000)))
  (func (export "read") (param $end i32) (result i32)
    (local $at i32) (local $a v128) (local $b v128)
    (loop $next
      (local.set $a (v128.xor (local.get $a) (v128.xor
        (v128.load (local.get $at)) (v128.load offset=16 (local.get $at)))))
      (local.set $b (v128.xor (local.get $b) (v128.xor
        (v128.load offset=32 (local.get $at)) (v128.load offset=48 (local.get $at)))))
      (br_if $next (i32.lt_u
        (local.tee $at (i32.add (local.get $at) (i32.const 64))) (local.get $end))))
    (i32x4.extract_lane 0 (v128.xor (local.get $a) (local.get $b)))))
"""
STREAM_BYTES = 8192 * 65536


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=DEMO_MODEL, help="a GGUF file")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    rows, notes = [], []
    weight_bytes = bytes_per_token(options.model)
    for threads in options.threads:
        decode, prefill = measure(options, threads)
        rows += [decode, prefill]
        bandwidth = stream_bandwidth(threads)
        notes.append(
            f"{threads} thread(s): memory is read at {bandwidth / 1e9:.1f} GB/s in WebAssembly; a "
            f"greedy token reads {weight_bytes / 1e6:.0f} MB or a little more, so at most "
            f"{bandwidth / weight_bytes:.0f} tokens/s; mlr reaches "
            f"{median(decode.ours) * weight_bytes / bandwidth:.0%} of that"
        )
    notes += [
        f"decode: {options.new_tokens} tokens, greedy; prefill: {options.prompt_tokens} tokens",
        f"medians (and ranges) of {options.repeats} runs, taken in turns, after a warm-up of both",
        f"{options.model.name}; wasmtime {version('wasmtime')}, "
        f"llama-cpp-python {LLAMA_CPP or 'is not installed'}; {machine()}",
    ]
    report(
        "mlr under wasmtime against llama.cpp, native; tokens a second",
        ("mlr", "llama.cpp"),
        rows,
        notes,
        as_json=options.json,
    )


def measure(options: argparse.Namespace, threads: int) -> tuple[Row, Row]:
    """Tokens a second of decoding and of prefill, on both engines."""
    tokenizer = model_tokenizer(options.model)
    prompts: Iterator[list[int]] = map(
        tokenizer.encode, long_prompts(tokenizer, options.prompt_tokens)
    )
    short = tokenizer.encode(DECODE_PROMPT)
    decode = Row("decode", threads, [], [])
    prefill = Row(f"prefill {options.prompt_tokens}", threads, [], [])
    with ExitStack() as stack:
        ours = Mlr(
            stack.enter_context(open_kernel(options.model, context_length=CONTEXT, threads=threads))
        )
        turns: list[tuple[Mlr | LlamaCpp, list[float], list[float]]] = [
            (ours, decode.ours, prefill.ours)
        ]
        if LLAMA_CPP:
            model = stack.enter_context(open_model(options.model, CONTEXT, threads=threads))
            turns.append((LlamaCpp(model), decode.theirs, prefill.theirs))
        for engine, _, _ in turns:
            engine.prefill(next(prompts))
            engine.decode(short, WARM_UP_TOKENS)
        for _ in range(options.repeats):
            for engine, rates, _ in turns:
                rates.append(options.new_tokens / engine.decode(short, options.new_tokens))
            prompt = next(prompts)
            for engine, _, rates in turns:
                rates.append(len(prompt) / engine.prefill(prompt))
    return decode, prefill


class Mlr:
    """The kernel engine, timed."""

    def __init__(self, engine: KernelEngine) -> None:
        self._engine = engine
        engine.configure(Sampling())

    def prefill(self, prompt: list[int]) -> float:
        """Seconds until the logits after a whole prompt are there."""
        self._engine.truncate(0)
        return seconds(lambda: self._engine.evaluate(prompt))

    def decode(self, prompt: list[int], count: int) -> float:
        """Seconds for `count` greedy tokens after a prompt, the prompt not counted."""
        self.prefill(prompt)

        def run() -> None:
            for _ in range(count):
                self._engine.evaluate([self._engine.sample()])

        return seconds(run)


class LlamaCpp:
    """llama-cpp-python's low-level calls, timed."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def prefill(self, prompt: list[int]) -> float:
        """Seconds until the logits after a whole prompt are there."""
        self._model.reset()
        return seconds(lambda: self._model.eval(prompt))

    def decode(self, prompt: list[int], count: int) -> float:
        """Seconds for `count` greedy tokens after a prompt, the prompt not counted."""
        import llama_cpp

        self.prefill(prompt)

        def run() -> None:
            for _ in range(count):
                last = llama_cpp.llama_get_logits_ith(self._model.ctx, -1)
                logits = np.ctypeslib.as_array(last, shape=(self._model.n_vocab(),))
                self._model.eval([int(logits.argmax())])

        return seconds(run)


def seconds(function: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def bytes_per_token(path: Path) -> int:
    """Bytes of weights that one greedily decoded token reads.

    All of them, but of an embedding only a row, and of an output head in Q8_0 the scales and high
    nibbles: of the low ones a few tiles (the kernel's README says why).
    """
    source = FileSource(path)
    try:
        tensors = {tensor.name: tensor for tensor in read_gguf(source).tensors}
    finally:
        source.close()
    head = tensors.get("output.weight", tensors["token_embd.weight"])
    total = sum(tensor.size for tensor in tensors.values())
    if head.name == "output.weight":
        total -= tensors["token_embd.weight"].size
    return total - (head.size * 16 // 34 if head.type == "Q8_0" else 0)


def stream_bandwidth(threads: int) -> float:
    """Bytes a second that `threads` threads read together, the best of five."""
    engine = wasmtime.Engine()
    module = wasmtime.Module(engine, STREAM)

    def reader() -> Callable[[], Any]:
        store = wasmtime.Store(engine)
        exports = wasmtime.Instance(store, module, []).exports(store)
        write, read = exports["write"], exports["read"]
        assert isinstance(write, wasmtime.Func)
        assert isinstance(read, wasmtime.Func)
        write(store)
        return lambda: read(store, STREAM_BYTES - 64)

    readers = [reader() for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def run() -> None:
            list(pool.map(lambda read: read(), readers))

        return threads * STREAM_BYTES / min(seconds(run) for _ in range(5))


if __name__ == "__main__":
    main()
