"""Choosing a token: as a constraint allows, with log probabilities where they are wanted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mlr.engines.base import Engine
from mlr.grammar.constraint import Constraint

__all__ = ["Chooser", "Chosen"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token as a `Chooser` gives it, `ends` when the generation is complete with it. An end
    token has no log probability.

    The scheduler adds when it was chosen (seconds of its clock) and whether it is the last, be it
    for another reason.
    """

    id: int
    ends: bool
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    at: float = 0.0
    last: bool = False


class Chooser:
    """Chooses tokens as a constraint allows, and takes log probabilities down.

    It knows nothing of its stream, so that a stream that is dropped can be collected.
    """

    def __init__(
        self, constraint: Constraint | None, end_ids: Collection[int], logprobs: int | None
    ) -> None:
        self._constraint, self._end_ids, self._logprobs = constraint, end_ids, logprobs

    @property
    def complete(self) -> bool:
        """Whether the constraint allows nothing more."""
        return self._constraint is not None and self._constraint.finished

    def ahead(self) -> Chooser:
        """A chooser that goes on from here, and leaves this one where it is."""
        constraint = None if self._constraint is None else self._constraint.copy()
        return Chooser(constraint, self._end_ids, 0)

    def __call__(self, engine: Engine, sequence: int, row: int) -> Chosen:
        """A token for a row of logits, which the constraint then goes on with."""
        if self._constraint is not None:
            words = -(-engine.vocabulary_size // 32)  # a draft's may be padded to another size
            engine.set_mask(self._constraint.mask()[: 4 * words].ljust(4 * words, b"\0"), sequence)
        token = engine.sample(sequence, row)
        if token in self._end_ids:
            return Chosen(token, ends=True)
        if self._constraint is not None:
            self._constraint.advance(token)
        if self._logprobs is None:
            return Chosen(token, self.complete)
        top = tuple(engine.top(self._logprobs, row)) if self._logprobs else ()
        logprob = dict(top).get(token)
        if logprob is None:
            logprob = engine.logprob(token, row)
        return Chosen(token, self.complete, logprob, top)
