"""One sequence of the reference engine: its tokens, and what is kept of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlr.engines.base import Sampling
from mlr.engines.reference.attention import Cache
from mlr.engines.reference.forward import Transformer
from mlr.engines.reference.sampling import Sampler
from mlr.errors import EngineError, RequestError
from mlr.formats.model_config import ModelConfig

__all__ = ["SequenceState"]

DIGEST = 32  # bytes of a SHA-256


class SequenceState:
    """The tokens in the cache, the cache, and how the next token is chosen."""

    def __init__(self, config: ModelConfig, context_length: int, dtype: DTypeLike) -> None:
        self._config = config
        self.tokens: list[int] = []
        self.cache = Cache(config, context_length, dtype)
        self.sampler = Sampler(Sampling())
        self.mask: NDArray[np.bool_] | None = None  # (n_vocab,)

    def truncate(self, position: int) -> None:
        """Forget every token from `position` on."""
        if not 0 <= position <= len(self.tokens):
            raise RequestError(f"cannot truncate to {position}: {len(self.tokens)} are evaluated")
        del self.tokens[position:]
        self.cache.position = position

    def copy(self, source: SequenceState, position: int) -> None:
        """Become the first `position` tokens of `source`."""
        if not 0 <= position <= len(source.tokens):
            raise RequestError(f"cannot fork at {position}: {len(source.tokens)} are evaluated")
        self.tokens = source.tokens[:position]
        self.cache.keys[:, :position] = source.cache.keys[:, :position]
        self.cache.values[:, :position] = source.cache.values[:, :position]
        self.cache.position = position

    def shift(self, model: Transformer, keep: int, discard: int) -> None:
        """Drop the tokens from `keep` to `keep + discard` and move those after them down.

        Their keys are turned back by as many positions; where positions are not rotations but
        were added to the embeddings, nothing can take them out again.
        """
        if keep < 0 or discard < 0 or keep + discard > len(self.tokens):
            raise RequestError(
                f"cannot drop {discard} tokens after {keep}: {len(self.tokens)} are evaluated"
            )
        if self._config.positions == "learned":
            raise EngineError("a model with learned positions cannot shift its context")
        end, cache = len(self.tokens), self.cache
        for layer in range(self._config.n_layers):
            moved = model.turned(layer, cache.keys[layer, keep + discard : end], -discard)
            cache.keys[layer, keep : end - discard] = moved
        cache.values[:, keep : end - discard] = cache.values[:, keep + discard : end].copy()
        del self.tokens[keep : keep + discard]
        cache.position -= discard

    def save(self) -> bytes:
        """Everything that `restore` needs, after a hash of it and of the model's configuration."""
        n, cache = len(self.tokens), self.cache
        arrays: list[NDArray[Any]] = [np.array([n]), np.array(self.tokens, dtype=np.int64)]
        arrays += [cache.keys[:, :n], cache.values[:, :n]]
        data = b"".join(array.tobytes() for array in arrays)
        return self._digest(data) + data

    def restore(self, data: bytes) -> None:
        """Become what `save` gave; raise `RequestError` for anything else, and be empty then."""
        self.truncate(0)
        content = data[DIGEST:]
        if data[:DIGEST] != self._digest(content):
            raise RequestError("these bytes are not a sequence that was saved with this model")
        n = int(np.frombuffer(content, np.int64, 1)[0])
        if n > self.cache.context_length:
            raise RequestError(f"{n} tokens were saved; the context holds less")
        tokens = np.frombuffer(content, np.int64, n, offset=8)
        shape = (2, *self.cache.keys[:, :n].shape)
        both = np.frombuffer(content, self.cache.keys.dtype, offset=8 + 8 * n).reshape(shape)
        self.cache.keys[:, :n], self.cache.values[:, :n] = both
        self.tokens, self.cache.position = tokens.tolist(), n

    def _digest(self, data: bytes) -> bytes:
        setting = [self._config.to_json(), str(self.cache.keys.dtype)]
        return hashlib.sha256(json.dumps(setting).encode() + data).digest()
