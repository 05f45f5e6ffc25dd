"""llama.cpp, through llama-cpp-python, as the oracle of logits and of greedy decoding."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["F32", "forced", "greedy", "logits_at_every_token", "open_model"]

F32 = 0  # of ggml's types: keys and values kept as they are, not rounded to float16


@contextmanager
def open_model(
    path: str | os.PathLike[str], context_length: int, *, threads: int = 2, **options: Any
) -> Iterator[Any]:
    """A `llama_cpp.Llama`, closed at the end."""
    import llama_cpp

    model = llama_cpp.Llama(
        os.fspath(path),
        n_ctx=context_length,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
        **options,
    )
    try:
        yield model
    finally:
        model.close()


def logits_at_every_token(
    path: str | os.PathLike[str], tokens: Sequence[int], context_length: int = 256
) -> NDArray[np.float32]:
    """The logits after each of `tokens`, (tokens, n_vocab), with the cache in float32."""
    options = {"logits_all": True, "type_k": F32, "type_v": F32}
    with open_model(path, context_length, **options) as model:
        model.eval(list(tokens))
        return np.array(model.scores[: len(tokens)], dtype=np.float32)


def greedy(model: Any, prompt: Sequence[int], steps: int) -> Iterator[NDArray[np.float32]]:
    """The logits (n_vocab,) before each of `steps` tokens, each the highest logit's id.

    The lowest id wins a tie.
    """
    model.reset()
    tokens = list(prompt)
    for _ in range(steps):
        model.eval(tokens)
        logits = _last_logits(model)
        yield logits
        tokens = [int(logits.argmax())]


def forced(model: Any, prompt: Sequence[int], tokens: Sequence[int]) -> NDArray[np.float32]:
    """The logits before each of `tokens`, whatever they say, (tokens, n_vocab)."""
    model.reset()
    rows = []
    for piece in [list(prompt), *([token] for token in tokens[:-1])]:
        model.eval(piece)
        rows.append(_last_logits(model))
    return np.array(rows)


def _last_logits(model: Any) -> NDArray[np.float32]:
    import llama_cpp

    # Without `logits_all` llama-cpp-python fills no `scores`: ask the library itself.
    last = llama_cpp.llama_get_logits_ith(model.ctx, -1)
    return np.ctypeslib.as_array(last, shape=(model.n_vocab(),)).copy()
