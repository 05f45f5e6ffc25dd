"""llama.cpp, compiled for this machine, as an engine of the benchmarks of generation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.streaming import seconds
from tests.bench.turns import CONTEXT, Prompt
from tests.support.llama_oracle import open_model

__all__ = ["LLAMA_CPP", "LLAMA_CPP_NOTE", "native_llama"]

LLAMA_CPP = "llama.cpp, native"  # how tables name it
_VERSION = version("llama-cpp-python") if find_spec("llama_cpp") else None
LLAMA_CPP_NOTE = (
    f"llama-cpp-python {_VERSION}"
    if _VERSION
    else f"left out: {LLAMA_CPP}: llama-cpp-python is not installed (`make .venv/.oracles`)"
)


@contextmanager
def native_llama(path: Path, threads: int) -> Iterator[dict[str, LlamaCpp]]:
    """The engine under its name, or nothing where it is not installed."""
    if _VERSION is None:
        yield {}
        return
    with open_model(path, CONTEXT, threads=threads) as model:
        yield {LLAMA_CPP: LlamaCpp(model)}


class LlamaCpp:
    """llama-cpp-python's low-level calls, timed."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def prefill(self, prompt: Prompt) -> float:
        """Prompt tokens a second, up to the logits after the last one."""
        self._model.reset()
        return len(prompt.tokens) / seconds(lambda: self._model.eval(prompt.tokens))

    def decode(self, prompt: Prompt, count: int) -> float:
        """Greedy tokens a second after a prompt."""
        import llama_cpp

        self.prefill(prompt)

        def run() -> None:
            for _ in range(count):
                last = llama_cpp.llama_get_logits_ith(self._model.ctx, -1)
                logits = np.ctypeslib.as_array(last, shape=(self._model.n_vocab(),))
                self._model.eval([int(logits.argmax())])

        return count / seconds(run)
