"""GGUF files with damaged headers, as far as a bundle and a kernel would use them."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from mlr.engines.kernel.descriptor import build_descriptor
from mlr.errors import MlrError
from mlr.formats.expected_tensors import expected_tensors
from mlr.formats.gguf import read_gguf
from mlr.formats.model_config import ModelConfig
from mlr.formats.source import BytesSource
from mlr.tokenizer import load_tokenizer
from tests.fuzz.mutate import mutate
from tests.support.tiny_models import tiny_gguf

__all__ = ["gguf_fuzzer"]

MEMORY_PER_BYTE = 200  # of the file: parsed metadata are Python objects
MEMORY = 4 << 20


def gguf_fuzzer(folder: Path) -> Callable[[random.Random], None]:
    """A round: damage a header, read everything that is read of it, and check what is said.

    Whatever the bytes, the answer is a parse or one of mlr's errors, and memory follows the
    file's size and not what the file says of itself.
    """
    files = []
    for architecture in ("gemma3", "llama", "qwen3"):
        data = tiny_gguf(
            folder / f"{architecture}.gguf", architecture=architecture, n_vocab=300
        ).read_bytes()
        files.append((data, read_gguf(BytesSource(data, "whole")).data_offset))

    def fuzz(random: random.Random) -> None:
        data, header = random.choice(files)
        damaged = mutate(data, random, header)
        tracemalloc.start()
        try:
            _read(damaged)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MEMORY + MEMORY_PER_BYTE * len(damaged), f"{peak:,} bytes were taken"

    return fuzz


def _read(data: bytes) -> None:
    try:
        file = read_gguf(BytesSource(data, "damaged.gguf"))
        for tensor in file.tensors:
            assert file.data_offset <= tensor.offset
            assert tensor.offset + tensor.size <= len(data)
        config = ModelConfig.from_gguf(
            file.metadata, {tensor.name: tensor.shape for tensor in file.tensors}
        )
        expected_tensors(config)
        build_descriptor(config, file.tensors)
        kept = {key: value for key, value in file.metadata.items() if key.startswith("tokenizer.")}
        tokenizer = load_tokenizer("gguf", json.dumps(kept).encode())
        tokenizer.decode(tokenizer.encode("Hello, wörld 123"))
    except MlrError:
        return  # refused, in words
