"""The reference engine behind the protocol that every engine has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlr.engines.base import MemoryReport, Sampling, Step
from mlr.engines.reference.attention import Cache
from mlr.engines.reference.dequantize import dequantize
from mlr.engines.reference.forward import Transformer
from mlr.engines.reference.operations import Weights
from mlr.engines.reference.sampling import Sampler, log_probabilities
from mlr.engines.reference.state import SequenceState
from mlr.errors import ContextLengthError, EngineError, FormatError, RequestError
from mlr.formats.expected_tensors import NOT_FINITE, expected_tensors
from mlr.formats.model_config import ModelConfig

__all__ = ["ReferenceEngine"]

CHUNK = 256  # tokens in one pass: bounds the attention scores held at once


class ReferenceEngine:
    """Sequences evaluated one after the other. Implements `mlr.engines.base.Engine`."""

    name = "reference"
    threads = 1  # NumPy's own threads apart
    batch = CHUNK
    outputs = CHUNK

    def __init__(
        self, config: ModelConfig, model: Transformer, states: list[SequenceState], weights: int
    ) -> None:
        """Take what `from_tensors` built; `weights` is their size in bytes."""
        self._config = config
        self._model = model
        self._states = states
        self._weight_bytes = weights
        self._logits: NDArray[Any] | None = None  # of the last pass, (rows, n_vocab)
        self._seen: list[tuple[int, int]] = []  # of a row: sequence, tokens of it

    @classmethod
    def from_tensors(
        cls,
        config: ModelConfig,
        tensors: Mapping[str, tuple[str, Sequence[int], bytes | bytearray | memoryview]],
        context_length: int,
        dtype: str = "float32",
        *,
        sequences: int = 1,
        kernel_rounding: bool = False,
    ) -> ReferenceEngine:
        """An engine on `tensors`: GGUF name to (type, shape as rows and columns, bytes).

        `dtype` is "float32", or "float64" for an oracle. `kernel_rounding` rounds what the
        kernel rounds (activations to 8 bits before a quantized matrix, what attention multiplies
        to 16), so that the two differ by the rounding of sums alone.

        Raises `FormatError` for a tensor that is missing or has another shape than the
        configuration asks for and for a vector that is not finite, `UnsupportedModelError` for a
        type that is not computed on.
        """
        if dtype not in ("float32", "float64"):
            raise RequestError(f"dtype must be float32 or float64, got {dtype!r}")
        if not 1 <= context_length <= config.context_length:
            raise RequestError(
                f"context_length must be between 1 and {config.context_length}, "
                f"got {context_length}"
            )
        weights = {}
        for expected in expected_tensors(config):
            if expected.name not in tensors:
                if expected.required:
                    raise FormatError("model", expected.name, 0, "is missing")
                continue
            type_name, shape, data = tensors[expected.name]
            if not expected.fits(shape):
                raise FormatError(
                    "model", expected.name, 0, f"has shape {shape}, not {expected.shape}"
                )
            values = dequantize(type_name, data, expected.shape, dtype)
            if values.ndim == 1 and not np.isfinite(values).all():
                raise FormatError("model", expected.name, 0, NOT_FINITE)
            weights[expected.name] = values
        types = {name: tensors[name][0] for name in weights}
        states = [SequenceState(config, context_length, dtype) for _ in range(sequences)]
        model = Transformer(
            config, Weights(config, weights, types, kernel_rounding), context_length
        )
        return cls(config, model, states, sum(array.nbytes for array in weights.values()))

    @property
    def detail(self) -> str:
        """One line on how it runs."""
        return f"NumPy {np.__version__}, {self._model.dtype}"

    @property
    def vocabulary_size(self) -> int:
        """How many logits `evaluate` computes."""
        return self._config.n_vocab

    @property
    def context_length(self) -> int:
        """How many tokens the cache holds of each sequence."""
        return self._states[0].cache.context_length

    @property
    def sequences(self) -> int:
        """How many sequences there are."""
        return len(self._states)

    def position(self, sequence: int = 0) -> int:
        """How many tokens of a sequence are in the cache."""
        return self._state(sequence).cache.position

    def _state(self, sequence: int) -> SequenceState:
        if not 0 <= sequence < len(self._states):
            raise RequestError(
                f"there is no sequence {sequence}: the model was loaded with {len(self._states)}"
            )
        return self._states[sequence]

    @property
    def memory(self) -> MemoryReport:
        """Bytes of the weights, the cache, and the largest arrays of a pass."""
        c, size = self._config, self._model.dtype.itemsize
        scores = c.n_heads * CHUNK * self.context_length
        return MemoryReport(
            weights=self._weight_bytes,
            kv_cache=sum(state.cache.nbytes for state in self._states),
            scratch=size * (3 * scores + CHUNK * 3 * c.n_ff + c.n_vocab),
        )

    def evaluate(self, tokens: Sequence[int], *, sequence: int = 0, logits: bool = True) -> None:
        """Append `tokens` and compute the logits after the last of them, if they are wanted."""
        self.evaluate_batch([Step(sequence, tokens, "last" if logits else "none")])

    def evaluate_batch(self, steps: Sequence[Step]) -> None:
        """Append the tokens of all `steps`."""
        rows: list[NDArray[Any]] = []
        self._seen = []
        for step in steps:
            self._check(step.tokens, self.context_length - self.position(step.sequence))
        for step in steps:
            if not len(step.tokens):
                continue
            hidden = self._append(step.tokens, self._state(step.sequence))
            if step.wanted != "none":
                rows.append(self._model.logits(hidden if step.wanted == "all" else hidden[-1:]))
                end = self.position(step.sequence) + 1
                self._seen += [(step.sequence, end - n) for n in range(len(rows[-1]), 0, -1)]
        self._logits = np.concatenate(rows) if rows else None

    def evaluate_all(self, tokens: Sequence[int]) -> NDArray[Any]:
        """Append `tokens` to sequence 0; the logits after each, (tokens, n_vocab)."""
        if not len(tokens):
            return np.empty((0, self._config.n_vocab), self._model.dtype)
        logits = self._model.logits(self._append(tokens, self._state(0)))
        self._logits, self._seen = logits[-1:], [(0, self.position())]
        return logits

    def _append(self, tokens: Sequence[int], state: SequenceState) -> NDArray[Any]:
        """Check `tokens` and evaluate them; the hidden states, (tokens, n_embd)."""
        if not self._config.causal:
            raise RequestError("this model is an encoder: it gives embeddings and no text")
        self._check(tokens, self.context_length - state.cache.position)
        state.tokens += tokens
        chunks = [tokens[i : i + CHUNK] for i in range(0, len(tokens), CHUNK)]
        return np.concatenate([self._model.hidden(chunk, state.cache) for chunk in chunks])

    def _check(self, tokens: Sequence[int], room: int) -> None:
        """Refuse ids outside the vocabulary, and more tokens than there is room for."""
        wrong = [token for token in tokens if not 0 <= token < self._config.n_vocab]
        if wrong:
            raise RequestError(
                f"token id {wrong[0]} is outside the vocabulary of {self._config.n_vocab}"
            )
        if len(tokens) > room:
            raise ContextLengthError(
                f"{len(tokens)} tokens do not fit: the context holds {self.context_length} and "
                f"{self.context_length - room} are used; shorten the prompt or load with a longer "
                "context"
            )

    def logits(self, row: int = 0) -> memoryview[float]:
        """A copy of a row of the last logits: float32, shape (vocabulary_size,)."""
        return memoryview(self._last_logits(row).astype(np.float32).tobytes()).cast("f")

    def _last_logits(self, row: int) -> NDArray[Any]:
        if self._logits is None or not 0 <= row < len(self._logits):
            raise EngineError(f"there are no logits yet of row {row}: evaluate tokens first")
        logits: NDArray[Any] = self._logits[row]
        return logits

    def configure(self, sampling: Sampling, sequence: int = 0) -> None:
        """Set how `sample` chooses, and seed its random numbers."""
        self._state(sequence).sampler = Sampler(sampling)

    def set_mask(self, mask: bytes | None, sequence: int = 0) -> None:
        """Let `sample` choose among the tokens of a mask only; None lifts it."""
        state, size = self._state(sequence), self._config.n_vocab
        if mask is not None and len(mask) != 4 * -(-size // 32):
            raise RequestError(f"a mask of {len(mask)} bytes for {size} tokens")
        bits = None if mask is None else np.frombuffer(mask, np.uint8)
        state.mask = None if bits is None else np.unpackbits(bits, bitorder="little")[:size] != 0

    def top(self, k: int, row: int = 0) -> list[tuple[int, float]]:
        """The `k` likeliest tokens of a row of the last logits, with their log probabilities."""
        values = log_probabilities(self._last_logits(row))
        best = np.argsort(-values, kind="stable")[:k]
        return [(int(token), float(values[token])) for token in best]

    def logprob(self, token: int, row: int = 0) -> float:
        """The log probability of a token in a row of the last logits."""
        return float(log_probabilities(self._last_logits(row))[token])

    def sample(self, sequence: int = 0, row: int = 0) -> int:
        """Choose the next token from a row of the last logits. Does not append it."""
        state, logits = self._state(sequence), self._last_logits(row)
        source, seen = self._seen[row]
        tokens = state.tokens[:seen] if source == sequence else state.tokens
        return state.sampler.choose(logits, tokens, state.mask)

    def fork(self, source: int, target: int, position: int) -> None:
        """Make sequence `target` the first `position` tokens of `source`."""
        self._state(target).copy(self._state(source), position)

    def shift(self, keep: int, discard: int, sequence: int = 0) -> None:
        """Drop the tokens from `keep` to `keep + discard` and move those after them down."""
        self._state(sequence).shift(self._model, keep, discard)

    def save(self, sequence: int = 0) -> bytes:
        """A sequence as bytes that `restore` takes."""
        return self._state(sequence).save()

    def restore(self, data: bytes, sequence: int = 0) -> None:
        """Make a sequence what `save` gave; raises `RequestError` for anything else."""
        self._state(sequence).restore(data)

    def embed(
        self, texts: Sequence[Sequence[int]], *, seconds: Sequence[int] | None = None
    ) -> list[memoryview[float]]:
        """The embedding of each text, pooled and normalized as the model's own files say."""
        found = [
            self.embedding(text, None if seconds is None else seconds[row])
            for row, text in enumerate(texts)
        ]
        return [memoryview(vector.astype(np.float32).tobytes()).cast("f") for vector in found]

    def embedding(self, tokens: Sequence[int], second: int | None = None) -> NDArray[Any]:
        """The embedding of one text, (n_embd,), or (1,) of a model that ranks."""
        if self._config.pooling == "none":
            raise RequestError("this model gives no embeddings")
        if not len(tokens):
            raise RequestError("an empty text has no embedding")
        cache = Cache(self._config, len(tokens), self._state(0).cache.keys.dtype)
        self._check(tokens, self.context_length)
        return self._model.pooled(self._model.hidden(tokens, cache, second))

    def truncate(self, position: int, sequence: int = 0) -> None:
        """Forget every token of a sequence from `position` on (0 forgets all)."""
        if position != self.position(sequence):
            self._logits = None
        self._state(sequence).truncate(position)

    def close(self) -> None:
        """Free everything. Safe to call twice."""
        self._logits = None
        self.__dict__.pop("_model", None)
        self.__dict__.pop("_states", None)

    def __getattr__(self, name: str) -> Any:
        """Reached only for what `close` has taken away."""
        if name in ("_model", "_states"):
            raise EngineError("the model is closed; load it again")
        raise AttributeError(name)
