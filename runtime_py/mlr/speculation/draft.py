"""Guessing with a draft model: a small one says what a large one may, and is quicker at it.

Leviathan, Kalman and Matias, 2023; Chen et al., 2023. Other than there, a guess is right if it is
the very token that the large model's sampler draws. So what is generated is the same with a draft
as without, for every seed, and not only alike. The draft draws with the random numbers that the
large model is going to draw with, so the two agree as far as their probabilities do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from mlr.choosing import Chooser
from mlr.engines.base import Engine, Sampling, Step
from mlr.errors import EngineError, GenerationError, RequestError
from mlr.speculation.guesser import Moment
from mlr.speculation.pace import Pace, Round
from mlr.tokenizer import Tokenizer

__all__ = ["DraftModel", "Drafting", "check_vocabulary"]

MAX_PADDING = 128  # tokens: the models of one family are padded to different sizes
STRIDE = 0x9E3779B97F4A7C15  # what a sampler's seed grows by with every number drawn (SplitMix64)
FEW = 2  # tokens to read before a guess: the last one, if it was right, and the one chosen then


def check_vocabulary(target: Tokenizer, draft: Tokenizer) -> None:
    """Raise `RequestError` unless a draft's tokens are the model's, id by id.

    One of the two may have some more at its end.
    """
    sizes = target.vocabulary_size, draft.vocabulary_size
    for token in range(min(sizes)):
        if target.piece(token) != draft.piece(token):
            raise RequestError(
                f"the draft model has another vocabulary: token {token} is {draft.piece(token)!r} "
                f"there and {target.piece(token)!r} in the model; take a draft of the same family"
            )
    if max(sizes) - min(sizes) > MAX_PADDING:
        raise RequestError(
            f"the draft model has another vocabulary: {sizes[1]} tokens, and the model {sizes[0]}; "
            "take a draft of the same family"
        )


class DraftModel:
    """A draft's engine, which follows the sequences of the model that it drafts for."""

    def __init__(
        self, engine: Engine, vocabulary_size: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`vocabulary_size` is the model's; `clock` gives seconds."""
        self.engine, self.clock = engine, clock
        self.vocabulary_size = min(vocabulary_size, engine.vocabulary_size)
        self.pace = Pace()
        self._held: list[list[int]] = [[] for _ in range(engine.sequences)]
        self._token_seconds = 0.0  # to read a token among many

    def follow(self, moment: Moment) -> list[int] | None:
        """Read what is new of a sequence, a batch at most. The tokens at its end, one or two, that
        are still to be read; None if there are more, or if it would take longer than it could save.
        """
        held, tokens = self._held[moment.sequence], moment.tokens
        unread = tokens[self._shared(moment.sequence, tokens) :]
        if len(unread) > FEW:
            saving = 2 * moment.price.of(0) - moment.price.of(1) - self.pace.step
            if len(unread) * self._token_seconds > moment.left * saving / 2:
                return None
            part = unread[:-1][: self.engine.batch]
            start = self.clock()
            self.engine.evaluate_batch([Step(moment.sequence, part, "none")])
            self._token_seconds = (self.clock() - start) / len(part)
            held += part
            unread = unread[len(part) :]
        return unread if len(unread) <= FEW else None

    def advance(self, tokens: list[int], sequence: int) -> None:
        """Append a few tokens to a sequence; row 0 of the logits follows the last of them."""
        self.engine.evaluate_batch([Step(sequence, tokens)])
        self._held[sequence] += tokens

    def _shared(self, sequence: int, tokens: Sequence[int]) -> int:
        """Go back to where the sequence still is what it is to be; never to the very end, since
        the last token's logits are wanted."""
        held = self._held[sequence]
        count = min(len(held), len(tokens) - 1)
        if held[:count] != tokens[:count]:
            count = next(i for i in range(count) if held[i] != tokens[i])
        if count < len(held):
            try:
                self.engine.truncate(count, sequence)
            except EngineError:  # a sliding window has lost what comes before
                count = 0
                self.engine.truncate(count, sequence)
            del held[count:]
        return count


class Drafting:
    """The `Guesser` of one generation that asks a draft model."""

    def __init__(self, model: DraftModel, sampling: Sampling, choose: Chooser) -> None:
        """`sampling` and `choose` are the generation's own."""
        self._model, self._sampling, self._choose = model, sampling, choose
        self._round: Round | None = None

    def guess(self, moment: Moment) -> list[int]:
        """What the draft model goes on with, for as long as that is worth it."""
        model, sequence = self._model, moment.sequence
        most = min(moment.most, model.engine.context_length - len(moment.tokens))
        if most < 1 or max(moment.tokens) >= model.vocabulary_size:
            return []
        self._round = model.pace.begin(moment.price, most)
        if self._round is None:
            return []
        unread = model.follow(moment)
        if unread is None:
            return []
        seed = (self._sampling.seed + moment.chosen * STRIDE) % 2**64
        model.engine.configure(replace(self._sampling, seed=seed), sequence)
        model.engine.set_mask(None, sequence)
        choose = self._choose.ahead()
        guesses: list[int] = []
        while True:
            start = model.clock()
            model.advance(unread, sequence)
            try:
                chosen = choose(model.engine, sequence, 0)
            except GenerationError:  # none of its tokens fits the grammar
                break
            model.pace.took(model.clock() - start)
            if chosen.logprob is None or chosen.id >= model.vocabulary_size:
                break
            guesses.append(chosen.id)
            self._round.made(math.exp(chosen.logprob))
            if chosen.ends or not self._round.another():
                break
            unread = [chosen.id]
        return guesses[: self._round.keep()]

    def learn(self, right: int, *, wrong: bool) -> None:
        """Note how the last guesses went."""
        if self._round is not None:
            self._round.learn(right, wrong=wrong)
