"""How fast a host reads memory in WebAssembly, which bounds decoding: a token reads nearly every
weight.

All threads read one shared memory, as the kernel's do, each a part of its own. `pages/stream.mjs`
does in a page what `wasmtime_stream` does here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wasmtime

from mlr.engines.kernel.wasmtime import _as_extern
from mlr.formats.gguf import read_gguf
from mlr.formats.source import FileSource

__all__ = [
    "STREAM",
    "STREAM_BYTES",
    "STREAM_PASSES",
    "STREAM_RUNS",
    "bytes_per_token",
    "seconds",
    "wasmtime_stream",
]

STREAM_BYTES = 8192 * 65536  # more than caches hold
STREAM_PASSES = 4  # of a run: threads do not start at the same moment
STREAM_RUNS = 5  # of which the fastest counts

# Writes all of the memory (pages never written to share one page of zeros, which would be read
# from the cache); reads a part, 64 bytes at a time, into something that depends on every byte.
STREAM = f"""
(module
  (import "env" "memory" (memory 8192 8192 shared))
  (func (export "write") (memory.fill (i32.const 0) (i32.const 85) (i32.const {STREAM_BYTES})))
  (func (export "read") (param $start i32) (param $end i32) (param $passes i32) (result i32)
    (local $at i32) (local $a v128) (local $b v128)
    (loop $pass
      (local.set $at (local.get $start))
      (loop $next
        (local.set $a (v128.xor (local.get $a) (v128.xor
          (v128.load (local.get $at)) (v128.load offset=16 (local.get $at)))))
        (local.set $b (v128.xor (local.get $b) (v128.xor
          (v128.load offset=32 (local.get $at)) (v128.load offset=48 (local.get $at)))))
        (br_if $next (i32.lt_u
          (local.tee $at (i32.add (local.get $at) (i32.const 64))) (local.get $end))))
      (br_if $pass
        (local.tee $passes (i32.sub (local.get $passes) (i32.const 1)))))
    (i32x4.extract_lane 0 (v128.xor (local.get $a) (local.get $b)))))
"""


@contextmanager
def wasmtime_stream(threads: int) -> Iterator[Callable[[], float]]:
    """What measures the bytes a second that `threads` threads read together under wasmtime."""
    wasmtime.SharedMemory._as_extern = _as_extern  # type: ignore[method-assign, assignment]
    config = wasmtime.Config()
    config.wasm_threads = config.shared_memory = True
    engine = wasmtime.Engine(config)
    module = wasmtime.Module(engine, STREAM)
    limits = wasmtime.Limits(STREAM_BYTES // 65536, STREAM_BYTES // 65536)
    memory: Any = wasmtime.SharedMemory(engine, wasmtime.MemoryType(limits, shared=True))
    part = STREAM_BYTES // threads & -64

    def reader(index: int) -> Callable[[], Any]:
        store = wasmtime.Store(engine)
        exports: Any = wasmtime.Instance(store, module, [memory]).exports(store)
        if index == 0:
            exports["write"](store)
        read, start = exports["read"], index * part
        return lambda: read(store, start, start + part, STREAM_PASSES)

    readers = [reader(index) for index in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def run() -> None:
            list(pool.map(lambda read: read(), readers))

        def bandwidth() -> float:
            best = min(seconds(run) for _ in range(STREAM_RUNS))
            return threads * part * STREAM_PASSES / best

        yield bandwidth


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
