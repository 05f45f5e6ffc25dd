"""What every engine offers, and the plain data that passes between engines and callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mlr.errors import RequestError

__all__ = ["Engine", "MemoryReport", "Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    The steps run in llama.cpp's order: repetition penalty, top-k, top-p, min-p, temperature.
    `temperature` 0 is greedy (the lowest id wins a tie). `top_k` 0, `top_p` 1, `min_p` 0 and
    `repeat_penalty` 1 switch a step off. The penalty looks at the last `repeat_last_n` tokens.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise `RequestError` for a value out of its range."""
        for name, low, high in (
            ("temperature", 0.0, 100.0),
            ("top_k", 0, 2**31 - 1),
            ("top_p", 0.0, 1.0),
            ("min_p", 0.0, 1.0),
            ("repeat_penalty", 0.01, 100.0),
            ("repeat_last_n", 0, 2**20),
            ("seed", 0, 2**64 - 1),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise RequestError(f"{name} must be a number, got {value!r}")
            if not low <= value <= high:  # also refuses NaN
                raise RequestError(f"{name} must be between {low} and {high}, got {value!r}")


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Bytes that a loaded model takes (or, before loading, is predicted to take)."""

    weights: int
    kv_cache: int
    scratch: int

    @property
    def total(self) -> int:
        """The sum, in bytes."""
        return self.weights + self.kv_cache + self.scratch


class Engine(Protocol):
    """One sequence being evaluated: tokens go in, logits and a next token come out.

    An engine is used by one caller at a time. Its calls block; a host runs them where blocking
    is allowed (a thread in CPython, the worker itself in a browser).
    """

    @property
    def name(self) -> str:
        """The engine's name, as `--engine` takes it."""
        ...

    @property
    def detail(self) -> str:
        """One line on how it runs here, such as `relaxed SIMD, 2 threads, wasmtime`."""
        ...

    @property
    def threads(self) -> int:
        """How many threads compute."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """How many logits `evaluate` computes."""
        ...

    @property
    def context_length(self) -> int:
        """How many tokens the KV cache holds."""
        ...

    @property
    def position(self) -> int:
        """How many tokens have been evaluated and are in the KV cache."""
        ...

    @property
    def memory(self) -> MemoryReport:
        """What the loaded model takes."""
        ...

    def evaluate(self, tokens: Sequence[int], *, logits: bool = True) -> None:
        """Append `tokens` and compute the logits after the last of them.

        `logits` False leaves the logits out, for a part of a prompt that goes on.

        Raises `ContextLengthError` when they do not fit, `RequestError` for an id that is not
        in the vocabulary, `EngineError` when the engine failed.
        """
        ...

    def logits(self) -> memoryview[float]:
        """A copy of the last logits: float32, shape (vocabulary_size,)."""
        ...

    def configure(self, sampling: Sampling) -> None:
        """Set how `sample` chooses, and seed its random numbers."""
        ...

    def sample(self) -> int:
        """Choose the next token from the last logits. Does not append it."""
        ...

    def truncate(self, position: int) -> None:
        """Forget every token from `position` on (0 forgets all)."""
        ...

    def close(self) -> None:
        """Free everything. Safe to call twice."""
        ...
