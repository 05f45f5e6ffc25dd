"""The kernel behind the `Engine` protocol: the same code in CPython and in Pyodide."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mlr.engines.base import MemoryReport, Sampling
from mlr.engines.kernel.abi import error_for
from mlr.engines.kernel.instance import KernelInstance, KernelPlan
from mlr.errors import ContextLengthError, EngineError, RequestError

__all__ = ["KernelEngine"]


class KernelEngine:
    """One sequence in a loaded kernel."""

    name = "kernel"

    def __init__(self, instance: KernelInstance, plan: KernelPlan, vocabulary_size: int) -> None:
        self._instance: KernelInstance | None = instance
        self._detail = instance.detail
        self._plan = plan
        self._vocabulary_size = vocabulary_size
        self._tokens_address = self._call("mlr_tokens")
        self._wanted_address = self._call("mlr_wanted")
        self._batch = self._call("mlr_batch")
        instance.write(self._call("mlr_token_sequences"), bytes(4 * self._batch))

    @property
    def detail(self) -> str:
        """One line on how it runs here."""
        return self._detail

    @property
    def threads(self) -> int:
        """How many threads compute."""
        return self._plan.threads

    @property
    def vocabulary_size(self) -> int:
        """How many logits `evaluate` computes."""
        return self._vocabulary_size

    @property
    def context_length(self) -> int:
        """How many tokens the KV cache holds."""
        return self._plan.context_length

    @property
    def position(self) -> int:
        """How many tokens are in the KV cache."""
        return self._call("mlr_position", 0)

    @property
    def memory(self) -> MemoryReport:
        """What the loaded model takes."""
        return self._plan.memory

    def _call(self, name: str, *arguments: float) -> int:
        if self._instance is None:
            raise EngineError(f"{name}: the model is closed; load it again")
        result = int(self._instance.call(name, *arguments))
        if result < 0:
            raise error_for(result, f"{name}({', '.join(map(str, arguments))})")
        return result

    def evaluate(self, tokens: Sequence[int], *, logits: bool = True) -> None:
        """Append `tokens` and compute the logits after the last of them, if they are wanted."""
        position = self.position
        if len(tokens) > self.context_length - position:
            raise ContextLengthError(
                f"{len(tokens)} tokens after {position} do not fit into a context of "
                f"{self.context_length}: shorten the prompt or load with a longer context"
            )
        for token in tokens:
            if not 0 <= token < self._vocabulary_size:
                raise RequestError(
                    f"token id {token} is not in the vocabulary of {self._vocabulary_size}"
                )
        for start in range(0, len(tokens), self._batch):
            part = tokens[start : start + self._batch]
            assert self._instance is not None
            self._instance.write(self._tokens_address, struct.pack(f"<{len(part)}i", *part))
            wanted = [0] * len(part)
            wanted[-1] = int(logits and start + len(part) == len(tokens))
            self._instance.write(self._wanted_address, struct.pack(f"<{len(part)}I", *wanted))
            self._call("mlr_eval", len(part))

    def logits(self) -> memoryview[float]:
        """A copy of the last logits: float32, shape (vocabulary_size,)."""
        address = self._call("mlr_logits", 0)
        assert self._instance is not None
        return memoryview(self._instance.read(address, 4 * self._vocabulary_size)).cast("f")

    def configure(self, sampling: Sampling) -> None:
        """Set how `sample` chooses, and seed its random numbers."""
        self._call(
            "mlr_sampler",
            0,
            sampling.temperature,
            sampling.top_k,
            sampling.top_p,
            sampling.min_p,
            sampling.repeat_penalty,
            sampling.repeat_last_n,
            0.0,
            0.0,
            _signed(sampling.seed & 0xFFFFFFFF),
            _signed(sampling.seed >> 32),
        )

    def sample(self) -> int:
        """Choose the next token from the last logits. Does not append it."""
        return self._call("mlr_sample", 0, 0)

    def truncate(self, position: int) -> None:
        """Forget every token from `position` on (0 forgets all).

        Raises `EngineError` when a sliding window no longer holds what precedes `position`.
        """
        self._call("mlr_truncate", 0, position)

    def close(self) -> None:
        """End the kernel's threads and free its memory."""
        if self._instance is not None:
            self._instance.close()
            self._instance = None


def _signed(word: int) -> int:
    """A 32-bit word as the signed integer that WebAssembly calls take."""
    return word - (1 << 32) if word >= 1 << 31 else word
