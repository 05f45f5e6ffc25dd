"""Several generations at once on one engine: continuous batching.

Each pass of the engine takes a token of every generation that is under way and a slice of the
prompts that are waiting, so a generation begins and ends without the others noticing. What a
generation gives depends on its own prompt and options alone: the engine's sequences do not
influence each other.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from mlr.choosing import Chooser, Chosen
from mlr.engines.base import Engine, Sampling, Step
from mlr.errors import EngineError, MlrError, RequestError
from mlr.hosts.base import Host
from mlr.speculation.guesser import Guesser, Moment
from mlr.speculation.pace import PassCosts, Price

__all__ = ["Generation", "OnFull", "Scheduler"]

T = TypeVar("T")

PREFILL_BESIDE_DECODING = 16  # prompt tokens in a pass that others wait for a token of
MIN_SHARED = 16  # tokens from which on a prefix is worth more than keeping another slot's tokens
KEPT_AT_THE_START = 4  # tokens that context shifting leaves: attention rests on the first ones

OnFull = Literal["stop", "shift"]
"""What happens when the context is full: the end, or its older half is dropped."""


@dataclass(eq=False)
class Generation:
    """One generation: what it asks for, how far it is, and what its reader has not yet taken."""

    prompt: list[int]
    max_tokens: int
    sampling: Sampling
    choose: Chooser
    on_full: OnFull = "stop"
    guesser: Guesser | None = None
    # set by the scheduler
    cached_tokens: int = 0  # of the prompt, found in the KV cache
    guessed: int = 0  # tokens, evaluated before it was certain that they come
    confirmed: int = 0  # of them
    started: float = 0.0  # seconds of the clock
    prompt_done: float = 0.0
    closed: bool = False
    _slot: _Slot | None = None
    _pending: list[int] = field(default_factory=list)  # to be evaluated
    _count: int = 0  # tokens chosen
    _finished: bool = False  # no more are to be chosen
    _ready: deque[Chosen | BaseException] = field(default_factory=deque)
    _waiter: asyncio.Future[None] | None = None

    @property
    def _decoding(self) -> bool:
        return self._count > 0

    @property
    def _wants_work(self) -> bool:
        # one token ahead of the reader at most: one who stops reading stops his own sequence
        return not self.closed and not self._finished and not self._ready


@dataclass(eq=False)
class _Slot:
    """A sequence of the engine, the tokens in it, and the generation that it belongs to."""

    sequence: int
    tokens: list[int] = field(default_factory=list)
    owner: Generation | None = None
    shifted: bool = False  # the tokens alone would not have given what is in the KV cache
    used: int = 0  # a count that grows: the smallest was used longest ago

    @property
    def free(self) -> bool:
        return self.owner is None or self.owner.closed


@dataclass(frozen=True)
class _Part:
    """What a pass does for one generation; `guesses` of the tokens are guesses."""

    generation: Generation
    slot: _Slot
    tokens: list[int]
    guesses: int
    whole: bool  # nothing of the prompt is left afterwards
    decodes: bool  # nothing of the prompt was left before


_Outcome = tuple[Generation, Chosen | BaseException]


class Scheduler:
    """Runs generations on an engine; those beyond its number of sequences wait in order."""

    def __init__(
        self, engine: Engine, host: Host, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`clock` gives seconds."""
        self._engine, self._host, self._clock = engine, host, clock
        self._costs = PassCosts()
        self._slots = [_Slot(number) for number in range(engine.sequences)]
        self._waiting: deque[Generation] = deque()
        self._loop: asyncio.Task[None] | None = None
        self._engine_free = asyncio.Lock()  # wakes its waiters in the order they came
        self._uses = 0
        self._closed = False
        self.alone = False  # nobody else can free a sequence while one waits for it

    def submit(self, generation: Generation) -> None:
        """Put a generation in line. Raises `RequestError` for ids outside the vocabulary."""
        for token in generation.prompt:
            if not 0 <= token < self._engine.vocabulary_size:
                raise RequestError(
                    f"token id {token} is not in the vocabulary of {self._engine.vocabulary_size}"
                )
        self._waiting.append(generation)

    async def next(self, generation: Generation) -> Chosen | None:
        """The generation's next token, None once it is released; raises what the engine raised."""
        while not generation._ready:
            if generation.closed:
                return None
            if self._closed:
                raise EngineError("the model is closed; load it again")
            generation._waiter = asyncio.get_running_loop().create_future()
            self._wake()
            await generation._waiter
        item = generation._ready.popleft()
        if isinstance(item, BaseException):
            raise item
        return item

    def release(self, generation: Generation) -> None:
        """End a generation; its sequence is free for the next one at once."""
        generation.closed = True  # one that waits leaves the line when its turn comes
        _notify(generation)
        if self._waiting:
            self._wake()

    async def exclusively(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call what uses the engine by itself, between two passes.

        It must leave the sequences of generations as they are.
        """
        async with self._engine_free:
            return await self._host.run(function, *arguments)

    async def save(self, generation: Generation) -> bytes:
        """The KV cache of a generation's prompt, between its only token and its release."""
        assert generation._slot is not None
        return await self.exclusively(self._engine.save, generation._slot.sequence)

    async def restore(self, tokens: list[int], data: bytes) -> None:
        """Put what was saved of `tokens` where a prompt that begins with them finds it.

        Raises `RequestError` while every sequence is in use, and what the engine's `restore` does.
        """
        await self.exclusively(self._restore, tokens, data)

    async def close(self) -> None:
        """Wait for the pass under way, then close the engine; generations end with an error."""
        self._closed = True
        try:
            await self.exclusively(self._engine.close)
        finally:  # only now is nobody on the way from the line to a sequence
            owners = [slot.owner for slot in self._slots if slot.owner is not None]
            for generation in [*owners, *self._waiting]:
                _notify(generation)

    def _wake(self) -> None:
        if not self._closed and (self._loop is None or self._loop.done()):
            self._loop = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while not self._closed and self._has_work():
            try:
                outcomes = await self.exclusively(self._pass)
            except Exception as error:  # a bug: nobody may be left waiting
                outcomes = self._fail(error)
            for generation, item in outcomes:
                generation._ready.append(item)
                _notify(generation)
            # those who were waiting take their tokens, and ask for the next, before the next pass
            await asyncio.sleep(0)
        if self.alone:
            self._refuse_to_wait()

    def _refuse_to_wait(self) -> None:
        while self._waiting:
            generation = self._waiting.popleft()
            error = RequestError(
                "every sequence belongs to a stream that was neither read to its end nor closed: "
                "close it, or load with more sequences"
            )
            generation._ready.append(error)
            _notify(generation)

    def _active(self) -> list[tuple[Generation, _Slot]]:
        return [
            (slot.owner, slot)
            for slot in self._slots
            if slot.owner is not None and slot.owner._wants_work
        ]

    def _has_work(self) -> bool:
        return bool(self._active() or (self._waiting and any(slot.free for slot in self._slots)))

    def _fail(self, error: Exception) -> list[_Outcome]:
        failed = [generation for generation, _ in self._active()]
        for generation in failed:
            generation._finished = True
        return [(generation, error) for generation in failed]

    # --- from here on in the host's thread, one pass at a time ----------------------------------

    def _pass(self) -> list[_Outcome]:
        """Evaluate one batch and choose tokens."""
        outcomes = self._admit()
        parts = self._plan()
        if not parts:
            return outcomes
        start = self._clock()
        try:
            self._engine.evaluate_batch(
                [Step(part.slot.sequence, part.tokens, _wanted(part)) for part in parts]
            )
        except MlrError as error:
            for part in parts:
                part.generation._finished = True
            return [*outcomes, *((part.generation, error) for part in parts)]
        row = 0
        for part in parts:
            part.slot.tokens += part.tokens
            del part.generation._pending[: len(part.tokens) - part.guesses]
            if part.whole:
                outcomes += self._choose(part, row)
                row += 1 + part.guesses
        if all(part.decodes for part in parts):
            self._costs.learn(len(parts), row - len(parts), self._clock() - start)
        return outcomes

    def _admit(self) -> list[_Outcome]:
        """Give free sequences to those who wait, in order; tells those that cannot begin why."""
        failed: list[_Outcome] = []
        while self._waiting and any(slot.free for slot in self._slots):
            generation = self._waiting.popleft()
            if generation.closed:
                continue
            try:
                self._begin(generation)
            except Exception as error:
                generation._finished = True
                failed.append((generation, error))
        return failed

    def _begin(self, generation: Generation) -> None:
        generation.started = self._clock()
        slot = self._place(generation.prompt)
        self._uses += 1
        slot.owner, slot.used = generation, self._uses
        generation._slot = slot
        generation.cached_tokens = len(slot.tokens)
        generation._pending = generation.prompt[len(slot.tokens) :]
        self._engine.configure(generation.sampling, slot.sequence)
        self._engine.set_mask(None, slot.sequence)

    def _place(self, prompt: list[int]) -> _Slot:
        """A free sequence that holds as much of the prompt's beginning as can be had.

        The last token is always evaluated, for its logits. A sliding window may have lost what
        would be needed; then the engine refuses and the next best is tried.
        """
        oldest = min((slot for slot in self._slots if slot.free), key=lambda slot: slot.used)
        shared = {
            slot.sequence: 0 if slot.shifted else _common(slot.tokens, prompt[:-1])
            for slot in self._slots
        }
        for source in sorted(self._slots, key=lambda s: (shared[s.sequence], s.free), reverse=True):
            count = shared[source.sequence]
            if count < (1 if len(self._slots) == 1 else MIN_SHARED):
                break
            try:
                if source.free:
                    self._engine.truncate(count, source.sequence)
                    del source.tokens[count:]
                    return source
                self._engine.fork(source.sequence, oldest.sequence, count)
                oldest.tokens, oldest.shifted = source.tokens[:count], False
                return oldest
            except EngineError:
                continue
        self._engine.truncate(0, oldest.sequence)
        oldest.tokens, oldest.shifted = [], False
        return oldest

    def _restore(self, tokens: list[int], data: bytes) -> None:
        free = [slot for slot in self._slots if slot.free]
        if not free:
            raise RequestError("every sequence is in use: restore a prompt when one is free")
        slot = min(free, key=lambda slot: slot.used)
        slot.owner, slot.tokens, slot.shifted = None, [], False
        self._engine.restore(data, slot.sequence)
        self._uses += 1
        slot.tokens, slot.used = tokens, self._uses

    def _plan(self) -> list[_Part]:
        """What the next pass evaluates: decoding first, then prompts, in equal slices."""
        active = self._active()
        decoding = [(g, slot) for g, slot in active if g._decoding]
        prompts = [(g, slot) for g, slot in active if not g._decoding]
        spare_rows = self._engine.outputs - len(active)
        price = self._costs.price(len(decoding))
        parts = []
        for generation, slot in decoding:
            guesses = self._guess(generation, slot, spare_rows // len(decoding), price)
            tokens = [*generation._pending, *guesses]
            parts.append(_Part(generation, slot, tokens, len(guesses), True, True))
        room = self._engine.batch - sum(len(part.tokens) for part in parts)
        if decoding:
            room = min(room, PREFILL_BESIDE_DECODING)
        for index, (generation, slot) in enumerate(prompts):
            size = room // (len(prompts) - index)
            tokens = generation._pending[:size]
            room -= len(tokens)
            if tokens:
                whole = len(tokens) == len(generation._pending)
                parts.append(_Part(generation, slot, tokens, 0, whole, False))
        return parts

    def _guess(
        self, generation: Generation, slot: _Slot, most: int, price: Price | None
    ) -> list[int]:
        """Tokens that may come next, to be evaluated with the one that is certain."""
        if generation.guesser is None or price is None:
            return []
        room = self._engine.context_length - len(slot.tokens) - 1
        left = generation.max_tokens - generation._count
        most = min(most, room, left - 1)
        if most < 1:
            return []
        tokens = [*slot.tokens, *generation._pending]
        return generation.guesser.guess(
            Moment(slot.sequence, tokens, generation._count, left, most, price)
        )

    def _choose(self, part: _Part, row: int) -> list[_Outcome]:
        """Choose the next token, and more of them for as long as they are those guessed.

        Each is drawn from the logits that plain decoding would have had, in the same order, so
        guesses change the speed and nothing else.
        """
        generation, slot = part.generation, part.slot
        if not generation._decoding:
            generation.prompt_done = self._clock()
        guesses = part.tokens[len(part.tokens) - part.guesses :]
        outcomes: list[_Outcome] = []
        right, wrong = 0, False
        while not generation._finished:
            try:
                chosen = generation.choose(self._engine, slot.sequence, row + right)
            except MlrError as error:
                generation._finished = True
                outcomes.append((generation, error))
                break
            generation._count += 1
            generation._pending = [chosen.id]
            guessed = right < part.guesses and chosen.id == guesses[right]
            wrong = right < part.guesses and not guessed
            if wrong:  # it and those after it are taken back
                del slot.tokens[len(slot.tokens) - (part.guesses - right) :]
                self._engine.truncate(len(slot.tokens), slot.sequence)
            generation._finished = (
                chosen.ends
                or generation._count >= generation.max_tokens
                or (not guessed and not self._has_room(generation, slot))
            )
            outcomes.append(
                (generation, replace(chosen, at=self._clock(), last=generation._finished))
            )
            if not guessed:
                break
            right += 1
        if generation.guesser is not None and part.guesses:
            generation.guessed += part.guesses
            generation.confirmed += right
            generation.guesser.learn(right, wrong=wrong)
        return outcomes

    def _has_room(self, generation: Generation, slot: _Slot) -> bool:
        full = len(slot.tokens) >= self._engine.context_length
        return not full or self._make_room(generation, slot)

    def _make_room(self, generation: Generation, slot: _Slot) -> bool:
        """Drop the older half of a full context, if that is wanted and possible."""
        if generation.on_full == "stop":
            return False
        keep = min(KEPT_AT_THE_START, len(generation.prompt))
        discard = (len(slot.tokens) - keep) // 2
        try:
            self._engine.shift(keep, discard, slot.sequence)
        except EngineError:
            return False
        del slot.tokens[keep : keep + discard]
        slot.shifted = True
        return True


def _wanted(part: _Part) -> Literal["last", "all", "none"]:
    if not part.whole:
        return "none"
    return "all" if part.guesses else "last"


def _notify(generation: Generation) -> None:
    waiter = generation._waiter
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _common(held: list[int], prompt: list[int]) -> int:
    """How many tokens two lists have in common at their beginnings."""
    limit = min(len(held), len(prompt))
    if held[:limit] == prompt[:limit]:
        return limit
    return next(i for i in range(limit) if held[i] != prompt[i])
