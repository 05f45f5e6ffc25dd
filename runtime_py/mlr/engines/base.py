"""What every engine offers, and the plain data that passes between engines and callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mlr.errors import RequestError

__all__ = ["Engine", "MemoryReport", "Sampling", "Step", "Wanted"]

Wanted = Literal["last", "all", "none"]
"""Of which tokens the logits are computed."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    The steps run in llama.cpp's order: penalties, top-k, top-p, min-p, temperature.
    `temperature` 0 is greedy (the lowest id wins a tie). `top_k` 0, `top_p` 1, `min_p` 0,
    `repeat_penalty` 1, `frequency_penalty` 0 and `presence_penalty` 0 switch a step off. The
    penalties look at the last `repeat_last_n` tokens: the logit of a token that is there is
    divided by `repeat_penalty` (multiplied where it is negative), then lowered by
    `frequency_penalty` for each time it is there and by `presence_penalty` once.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
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
            ("frequency_penalty", -2.0, 2.0),
            ("presence_penalty", -2.0, 2.0),
            ("seed", 0, 2**64 - 1),
        ):
            value = getattr(self, name)
            whole = name in ("top_k", "repeat_last_n", "seed")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                kind = "whole number" if whole else "number"
                raise RequestError(f"{name} must be a {kind}, got {value!r:.60}")
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


@dataclass(frozen=True, slots=True)
class Step:
    """Tokens to append to a sequence, as a part of a batch."""

    sequence: int
    tokens: Sequence[int]
    wanted: Wanted = "last"


class Engine(Protocol):
    """Sequences being evaluated: tokens go in, logits and a next token come out.

    Sequences are numbered from 0 on and have nothing to do with each other: what a sequence's
    logits are depends on its own tokens alone, bit for bit, whatever is evaluated beside it.

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
        """How many tokens the KV cache holds of each sequence."""
        ...

    @property
    def sequences(self) -> int:
        """How many sequences there are."""
        ...

    @property
    def batch(self) -> int:
        """How many tokens `evaluate_batch` takes at most."""
        ...

    @property
    def outputs(self) -> int:
        """Of how many tokens `evaluate_batch` computes logits at most."""
        ...

    def position(self, sequence: int = 0) -> int:
        """How many tokens of a sequence have been evaluated and are in the KV cache."""
        ...

    @property
    def memory(self) -> MemoryReport:
        """What the loaded model takes."""
        ...

    def evaluate(self, tokens: Sequence[int], *, sequence: int = 0, logits: bool = True) -> None:
        """Append any number of `tokens` and compute the logits after the last of them, as row 0.

        `logits` False leaves the logits out, for a part of a prompt that goes on.

        Raises `ContextLengthError` when they do not fit, `RequestError` for an id that is not
        in the vocabulary, `EngineError` when the engine failed.
        """
        ...

    def evaluate_batch(self, steps: Sequence[Step]) -> None:
        """Append the tokens of all `steps` in one pass: at most `batch` of them.

        The logits of the wanted tokens, at most `outputs`, become rows 0, 1, … in the order of
        the tokens. Raises what `evaluate` raises; then nothing has been appended.
        """
        ...

    def logits(self, row: int = 0) -> memoryview[float]:
        """A copy of a row of the last logits: float32, shape (vocabulary_size,)."""
        ...

    def configure(self, sampling: Sampling, sequence: int = 0) -> None:
        """Set how `sample` chooses for a sequence, and seed its random numbers."""
        ...

    def set_mask(self, mask: bytes | None, sequence: int = 0) -> None:
        """Let `sample` choose among the tokens of a mask only; None lifts it.

        A mask is `ceil(vocabulary_size / 32)` little-endian 32-bit words; bit i % 32 of word
        i // 32 allows token i. It stays until it is replaced or lifted.
        """
        ...

    def top(self, k: int, row: int = 0) -> list[tuple[int, float]]:
        """The `k` likeliest tokens of a row of the last logits, the likeliest first, each with
        its log probability: the log softmax of the logits, before masks, penalties and
        temperature. Equals come by id; `k` is at most 256.
        """
        ...

    def logprob(self, token: int, row: int = 0) -> float:
        """The log probability of a token, as in `top`."""
        ...

    def sample(self, sequence: int = 0, row: int = 0) -> int:
        """Choose the next token of a sequence from a row of the last logits.

        Penalties look at the tokens that the row has seen: those after it in a pass are guesses.
        Does not append the token. Raises `GenerationError` when the mask allows no token.
        """
        ...

    def truncate(self, position: int, sequence: int = 0) -> None:
        """Forget every token of a sequence from `position` on (0 forgets all).

        Raises `EngineError` when a sliding window no longer holds what precedes `position`.
        """
        ...

    def fork(self, source: int, target: int, position: int) -> None:
        """Make sequence `target` the first `position` tokens of `source`.

        Raises `EngineError` as `truncate` does.
        """
        ...

    def shift(self, keep: int, discard: int, sequence: int = 0) -> None:
        """Drop the tokens from `keep` to `keep + discard` and move those after them down.

        The tokens moved keep what they have seen of those dropped. Raises `EngineError` where
        the model's positions do not allow it.
        """
        ...

    def save(self, sequence: int = 0) -> bytes:
        """A sequence as bytes that `restore` takes, here or in another load of the same model."""
        ...

    def restore(self, data: bytes, sequence: int = 0) -> None:
        """Make a sequence what `save` gave.

        Raises `RequestError` for bytes that are not whole or of another model or setting; then
        the sequence is empty.
        """
        ...

    def embed(
        self, texts: Sequence[Sequence[int]], *, seconds: Sequence[int] | None = None
    ) -> list[memoryview[float]]:
        """The embedding of each text, given as token ids: float32, shape (width,).

        A model that ranks gives a score instead, shape (1,), for two texts in one row of ids:
        the second one begins at the index that `seconds` has for the row.

        Raises `RequestError` for a model that gives no embeddings or a text that is too long.
        """
        ...

    def close(self) -> None:
        """Free everything. Safe to call twice."""
        ...
