"""How the reference engine chooses a token: the steps that `Sampling` documents, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlr.engines.base import Sampling
from mlr.errors import GenerationError

__all__ = ["Sampler", "candidates", "log_probabilities"]


MASK = 2**64 - 1


class Sampler:
    """Chooses tokens; its random numbers depend on the seed alone, and are the kernel's."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._state = sampling.seed

    def choose(
        self, logits: NDArray[Any], tokens: Sequence[int], mask: NDArray[np.bool_] | None = None
    ) -> int:
        """A token id. `logits` (n_vocab,) follow `tokens`, all that were evaluated; `mask`
        (n_vocab,) says which may be chosen."""
        ids, probabilities = candidates(logits, tokens, self._sampling, mask)
        if self._sampling.temperature == 0.0:
            return int(ids[0])
        sums = np.cumsum(probabilities)
        place = int(np.searchsorted(sums, self._random() * sums[-1], side="right"))
        return int(ids[min(place, len(ids) - 1)])

    def _random(self) -> float:
        """The next number in [0, 1), by SplitMix64 (Steele, Lea and Flood, 2014)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        z = self._state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return float((z ^ z >> 31) >> 11) / 2.0**53


def candidates(
    logits: NDArray[Any],
    tokens: Sequence[int],
    sampling: Sampling,
    mask: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The token ids that may be chosen, and their probabilities.

    Top-k and top-p put the most probable first, ties by id; without them the order is that of
    the ids. (The order decides which token a random number falls on.) Greedy sampling leaves one
    candidate. Raises `GenerationError` when `mask` allows none.
    """
    scores = _penalized(logits.astype(np.float64), tokens, sampling)
    ids = np.arange(len(scores)) if mask is None else np.flatnonzero(mask)
    if not len(ids):
        raise GenerationError("the mask allows no token")
    if sampling.temperature == 0.0:
        return ids[[scores[ids].argmax()]], np.ones(1)

    if sampling.top_k > 0 or sampling.top_p < 1.0:
        ids = ids[np.argsort(-scores[ids], kind="stable")]
    if sampling.top_k > 0:
        ids = ids[: sampling.top_k]
    if sampling.top_p < 1.0:
        # The fewest tokens whose probabilities reach top_p; at least one.
        reached = np.cumsum(_softmax(scores[ids])) >= sampling.top_p
        ids = ids[: reached.argmax() + 1] if reached.any() else ids
    if sampling.min_p > 0.0:
        ids = ids[scores[ids] >= scores[ids].max() + np.log(sampling.min_p)]
    return ids, _softmax(scores[ids] / sampling.temperature)


def _penalized(
    scores: NDArray[np.float64], tokens: Sequence[int], sampling: Sampling
) -> NDArray[np.float64]:
    """`scores` with those of the last tokens changed, in place."""
    last = np.asarray(tokens[len(tokens) - min(sampling.repeat_last_n, len(tokens)) :], np.intp)
    seen, counts = np.unique(last, return_counts=True)
    penalty = sampling.repeat_penalty
    scores[seen] = np.where(scores[seen] > 0, scores[seen] / penalty, scores[seen] * penalty)
    scores[seen] -= counts * sampling.frequency_penalty + sampling.presence_penalty
    return scores


def log_probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """The log softmax of `logits` (n_vocab,), in double precision."""
    shifted = logits.astype(np.float64) - float(logits.max())
    out: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return out


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(scores - scores.max())
    out: NDArray[np.float64] = e / e.sum()
    return out
