"""The kernel on a GGUF file, without a bundle in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from mlr.engines.kernel.abi import PAGE
from mlr.engines.kernel.descriptor import build_descriptor
from mlr.engines.kernel.engine import KernelEngine
from mlr.engines.kernel.instance import CacheType, KernelOptions
from mlr.engines.kernel.wasmtime import BUILDS, WasmtimeKernel, plan
from mlr.formats.gguf import read_gguf
from mlr.formats.model_config import ModelConfig
from mlr.formats.source import FileSource

__all__ = ["every_logits", "last_logits", "open_kernel"]


@contextmanager
def open_kernel(
    path: str | os.PathLike[str],
    *,
    context_length: int = 256,
    threads: int = 1,
    sequences: int = 1,
    kv_type: CacheType = "q16",
    build: str = BUILDS[0],
    started: int | None = None,
) -> Iterator[KernelEngine]:
    """The kernel engine under wasmtime with the weights of a GGUF file in it.

    `started` is how many of the threads there really are, to see what becomes of the others.
    """
    source = FileSource(path)
    try:
        file = read_gguf(source)
        shapes = {tensor.name: tensor.shape for tensor in file.tensors}
        config = ModelConfig.from_gguf(file.metadata, shapes)
        options = KernelOptions(context_length, threads, sequences, kv_type)
        needs = plan(build_descriptor(config, file.tensors), options, build)
        kernel = WasmtimeKernel(-(-needs.total_bytes // PAGE), build)
        kernel.layout(needs.descriptor, options)
        start, piece = min(tensor.offset for tensor in file.tensors), 1 << 20
        for offset in range(start, source.size, piece):
            kernel.feed(offset, source.read_at(offset, min(piece, source.size - offset)))
        kernel.start(started or threads)
    finally:
        source.close()
    engine = KernelEngine(kernel, needs, config)
    try:
        yield engine
    finally:
        engine.close()


def last_logits(engine: KernelEngine) -> NDArray[np.float32]:
    """The logits after the last token, (n_vocab,)."""
    return np.array(engine.logits(), dtype=np.float32)


def every_logits(engine: KernelEngine, tokens: list[int]) -> NDArray[np.float32]:
    """The logits after each of `tokens`, evaluated one by one, (tokens, n_vocab)."""
    rows = []
    for token in tokens:
        engine.evaluate([token])
        rows.append(last_logits(engine))
    return np.array(rows)
