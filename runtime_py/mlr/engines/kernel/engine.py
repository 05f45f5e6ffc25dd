"""The kernel behind the `Engine` protocol: the same code in CPython and in Pyodide."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mlr.engines.base import MemoryReport, Sampling, Step
from mlr.engines.kernel.abi import error_for
from mlr.engines.kernel.instance import KernelInstance, KernelPlan
from mlr.errors import ContextLengthError, EngineError, RequestError
from mlr.formats.model_config import ModelConfig

__all__ = ["KernelEngine"]


class KernelEngine:
    """The sequences of a loaded kernel.

    Calls into the kernel cost tens of microseconds under wasmtime, so what Python can know by
    itself, such as positions, it keeps.
    """

    name = "kernel"

    def __init__(self, instance: KernelInstance, plan: KernelPlan, config: ModelConfig) -> None:
        self._instance: KernelInstance | None = instance
        self._detail = instance.detail
        self._plan = plan
        self._config = config
        self._vocabulary_size = config.n_vocab
        self._positions = [0] * plan.options.sequences
        self._tokens_address = self._call("mlr_tokens")
        self._sequences_address = self._call("mlr_token_sequences")
        self._wanted_address = self._call("mlr_wanted")
        self._types_address = self._call("mlr_token_types")
        self._written: dict[int, bytes] = {}  # at these addresses: decoding changes the ids alone
        self._staging = self._call("mlr_staging")
        self._alternatives = self._call("mlr_alternatives")
        self._staging_size = self._call("mlr_staging_size")
        self._batch = self._call("mlr_batch")
        self._outputs = self._call("mlr_outputs")

    @property
    def detail(self) -> str:
        """One line on how it runs here."""
        return self._detail

    @property
    def threads(self) -> int:
        """How many threads compute."""
        return self._plan.options.threads

    @property
    def vocabulary_size(self) -> int:
        """How many logits `evaluate` computes."""
        return self._vocabulary_size

    @property
    def context_length(self) -> int:
        """How many tokens the KV cache holds of each sequence."""
        return self._plan.options.context_length

    @property
    def sequences(self) -> int:
        """How many sequences there are."""
        return len(self._positions)

    @property
    def batch(self) -> int:
        """How many tokens `evaluate_batch` takes at most."""
        return self._batch

    @property
    def outputs(self) -> int:
        """Of how many tokens `evaluate_batch` computes logits at most."""
        return self._outputs

    @property
    def memory(self) -> MemoryReport:
        """What the loaded model takes."""
        return self._plan.memory

    def position(self, sequence: int = 0) -> int:
        """How many tokens of a sequence are in the KV cache."""
        return self._positions[self._checked(sequence)]

    def _checked(self, sequence: int) -> int:
        if not 0 <= sequence < len(self._positions):
            raise RequestError(
                f"there is no sequence {sequence}: the model was loaded with "
                f"sequences={len(self._positions)}"
            )
        return sequence

    def _loaded(self, asked: str) -> KernelInstance:
        if self._instance is None:
            raise EngineError(f"{asked}: the model is closed; load it again")
        return self._instance

    def _call(self, name: str, *arguments: float) -> int:
        result = int(self._loaded(name).call(name, *arguments))
        if result < 0:
            raise error_for(result, f"{name}({', '.join(map(str, arguments))})")
        return result

    def _check_tokens(self, tokens: Sequence[int], sequence: int) -> None:
        """Raise for tokens that cannot be appended to a sequence."""
        position = self.position(sequence)
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

    def evaluate(self, tokens: Sequence[int], *, sequence: int = 0, logits: bool = True) -> None:
        """Append `tokens` and compute the logits after the last of them, if they are wanted."""
        self._check_tokens(tokens, sequence)
        for start in range(0, len(tokens), self._batch):
            part = tokens[start : start + self._batch]
            last = logits and start + len(part) == len(tokens)
            self._evaluate([Step(sequence, part, "last" if last else "none")])

    def evaluate_batch(self, steps: Sequence[Step]) -> None:
        """Append the tokens of all `steps` in one pass."""
        for step in steps:
            self._check_tokens(step.tokens, step.sequence)
        if any(step.tokens for step in steps):
            self._evaluate(steps)

    def _evaluate(self, steps: Sequence[Step]) -> None:
        ids: list[int] = []
        owners: list[int] = []
        wanted: list[int] = []
        for step in steps:
            count = len(step.tokens)
            ids += step.tokens
            owners += [step.sequence] * count
            wanted += [int(step.wanted == "all")] * count
            if step.wanted == "last" and count:
                wanted[-1] = 1
        if len(ids) > self._batch or sum(wanted) > self._outputs:
            raise RequestError(
                f"{len(ids)} tokens and {sum(wanted)} rows of logits in one pass: at most "
                f"{self._batch} and {self._outputs} are possible"
            )
        self._run(ids, owners, wanted)
        for step in steps:
            self._positions[step.sequence] += len(step.tokens)

    def _run(
        self, ids: list[int], owners: list[int], wanted: list[int], types: Sequence[int] = ()
    ) -> None:
        instance = self._loaded("mlr_eval")
        for address, words, kind in (
            (self._tokens_address, ids, "i"),
            (self._sequences_address, owners, "I"),
            (self._wanted_address, wanted, "I"),
            (self._types_address, types, "I"),
        ):
            data = struct.pack(f"<{len(words)}{kind}", *words)
            if self._written.get(address) != data:
                instance.write(address, data)
                self._written[address] = data
        self._call("mlr_eval", len(ids))

    def logits(self, row: int = 0) -> memoryview[float]:
        """A copy of a row of the last logits: float32, shape (vocabulary_size,)."""
        address = self._call("mlr_logits", row)
        data = self._loaded("mlr_logits").read(address, 4 * self._vocabulary_size)
        return memoryview(data).cast("f")

    def configure(self, sampling: Sampling, sequence: int = 0) -> None:
        """Set how `sample` chooses for a sequence, and seed its random numbers."""
        self._call(
            "mlr_sampler",
            self._checked(sequence),
            float(sampling.temperature),
            sampling.top_k,
            float(sampling.top_p),
            float(sampling.min_p),
            float(sampling.repeat_penalty),
            sampling.repeat_last_n,
            float(sampling.frequency_penalty),
            float(sampling.presence_penalty),
            _signed(sampling.seed & 0xFFFFFFFF),
            _signed(sampling.seed >> 32),
        )

    def set_mask(self, mask: bytes | None, sequence: int = 0) -> None:
        """Let `sample` choose among the tokens of a mask only; None lifts it."""
        if mask is not None:
            address = self._call("mlr_mask", self._checked(sequence))
            if len(mask) != 4 * -(-self._vocabulary_size // 32):
                raise RequestError(
                    f"a mask of {len(mask)} bytes for {self._vocabulary_size} tokens"
                )
            self._loaded("mlr_mask").write(address, mask)
        self._call("mlr_use_mask", self._checked(sequence), int(mask is not None))

    def top(self, k: int, row: int = 0) -> list[tuple[int, float]]:
        """The `k` likeliest tokens of a row of the last logits, with their log probabilities."""
        count = self._call("mlr_top", row, k)
        data = self._loaded("mlr_top").read(self._alternatives, 8 * count)
        return list(struct.iter_unpack("<If", data))

    def logprob(self, token: int, row: int = 0) -> float:
        """The log probability of a token in a row of the last logits."""
        value = float(self._loaded("mlr_logprob").call("mlr_logprob", row, token))
        if value != value:
            raise RequestError(f"there is no log probability of token {token} in row {row}")
        return value

    def sample(self, sequence: int = 0, row: int = 0) -> int:
        """Choose the next token of a sequence from a row of the last logits."""
        return self._call("mlr_sample", self._checked(sequence), row)

    def truncate(self, position: int, sequence: int = 0) -> None:
        """Forget every token of a sequence from `position` on (0 forgets all).

        Raises `EngineError` when a sliding window no longer holds what precedes `position`.
        """
        self._call("mlr_truncate", self._checked(sequence), position)
        self._positions[sequence] = position

    def fork(self, source: int, target: int, position: int) -> None:
        """Make sequence `target` the first `position` tokens of `source`."""
        self._call("mlr_fork", self._checked(source), self._checked(target), position)
        self._positions[target] = position

    def shift(self, keep: int, discard: int, sequence: int = 0) -> None:
        """Drop the tokens from `keep` to `keep + discard` and move those after them down."""
        self._call("mlr_shift", self._checked(sequence), keep, discard)
        self._positions[sequence] -= discard

    def save(self, sequence: int = 0) -> bytes:
        """A sequence as bytes that `restore` takes; the last logits end with it."""
        size = self._call("mlr_sequence_bytes", self._checked(sequence))
        instance, parts = self._loaded("mlr_save"), []
        for start in range(0, size, self._staging_size):
            count = min(self._staging_size, size - start)
            self._call("mlr_save", sequence, float(start), count)
            parts.append(instance.read(self._staging, count))
        return b"".join(parts)

    def restore(self, data: bytes, sequence: int = 0) -> None:
        """Make a sequence what `save` gave; the last logits end with it.

        Raises `RequestError` for anything else.
        """
        instance = self._loaded("mlr_restore")
        self._call("mlr_truncate", self._checked(sequence), 0)
        self._positions[sequence] = 0
        for start in range(0, len(data), self._staging_size):
            part = data[start : start + self._staging_size]
            instance.write(self._staging, part)
            self._call("mlr_restore", sequence, float(start), len(part))
        self._positions[sequence] = self._call("mlr_position", sequence)
        if not self._positions[sequence]:
            self.truncate(0, sequence)
            raise RequestError(f"a saved sequence is not whole: {len(data)} bytes of it came")

    def embed(
        self, texts: Sequence[Sequence[int]], *, seconds: Sequence[int] | None = None
    ) -> list[memoryview[float]]:
        """The embedding of each text: float32, shape (width,), or (1,) of a model that ranks.

        An encoder takes as many texts in a pass as fit. A decoder reads one after the other, as
        sequence 0, which is empty afterwards.
        """
        if self._config.pooling == "none":
            raise RequestError("this model gives no embeddings")
        if self._config.causal:
            self.truncate(0)
        for text in texts:
            if not text:
                raise RequestError("an empty text has no embedding")
            self._check_tokens(text, 0)
        if self._config.causal:
            return [self._embed_by_decoder(text) for text in texts]
        embeddings, start = [], 0
        while start < len(texts):
            end, room = start, self._batch
            while end < len(texts) and len(texts[end]) <= room:
                room -= len(texts[end])
                end += 1
            part = texts[start:end]
            ids = [token for text in part for token in text]
            owners = [number for number, text in enumerate(part) for _ in text]
            types: list[int] = []
            if self._config.token_types > 1:
                for row, text in enumerate(part, start):
                    first = len(text) if seconds is None else seconds[row]
                    types += [0] * first + [1] * (len(text) - first)
            self._run(ids, owners, [], types)
            embeddings += [self._embedding(row) for row in range(len(part))]
            start = end
        return embeddings

    def _embed_by_decoder(self, text: Sequence[int]) -> memoryview[float]:
        self.evaluate(text)
        embedding = self._embedding(0)
        self.truncate(0)
        return embedding

    def _embedding(self, row: int) -> memoryview[float]:
        width = 1 if self._config.pooling == "rank" else self._config.n_embd
        address = self._call("mlr_embedding", row)
        return memoryview(self._loaded("mlr_embedding").read(address, 4 * width)).cast("f")

    def close(self) -> None:
        """End the kernel's threads and free its memory."""
        if self._instance is not None:
            self._instance.close()
            self._instance = None


def _signed(word: int) -> int:
    """A 32-bit word as the signed integer that WebAssembly calls take."""
    return word - (1 << 32) if word >= 1 << 31 else word
