"""How the reference engine chooses a token: the steps that `Sampling` documents, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlr.engines.base import Sampling

__all__ = ["Sampler", "candidates"]


MASK = 2**64 - 1


class Sampler:
    """Chooses tokens; its random numbers depend on the seed alone, and are the kernel's."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._state = sampling.seed

    def choose(self, logits: NDArray[Any], tokens: Sequence[int]) -> int:
        """A token id. `logits` (n_vocab,) follow `tokens`, all that were evaluated."""
        ids, probabilities = candidates(logits, tokens, self._sampling)
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
    logits: NDArray[Any], tokens: Sequence[int], sampling: Sampling
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The token ids that may be chosen, and their probabilities.

    Top-k and top-p put the most probable first, ties by id; without them the order is that of
    the ids. (The order decides which token a random number falls on.) Greedy sampling leaves one
    candidate.
    """
    scores = logits.astype(np.float64)
    if sampling.repeat_penalty != 1.0 and sampling.repeat_last_n > 0:
        seen = np.unique(np.asarray(tokens[-sampling.repeat_last_n :], dtype=np.intp))
        penalty = sampling.repeat_penalty
        scores[seen] = np.where(scores[seen] > 0, scores[seen] / penalty, scores[seen] * penalty)
    if sampling.temperature == 0.0:
        return np.array([scores.argmax()]), np.ones(1)

    ids = np.arange(len(scores))
    if sampling.top_k > 0 or sampling.top_p < 1.0:
        ids = np.argsort(-scores, kind="stable")
    if sampling.top_k > 0:
        ids = ids[: sampling.top_k]
    if sampling.top_p < 1.0:
        # The fewest tokens whose probabilities reach top_p; at least one.
        reached = np.cumsum(_softmax(scores[ids])) >= sampling.top_p
        ids = ids[: reached.argmax() + 1] if reached.any() else ids
    if sampling.min_p > 0.0:
        ids = ids[scores[ids] >= scores.max() + np.log(sampling.min_p)]
    return ids, _softmax(scores[ids] / sampling.temperature)


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(scores - scores.max())
    out: NDArray[np.float64] = e / e.sum()
    return out
