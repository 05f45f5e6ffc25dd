"""Generating text: the loop from prompt ids to a completion, one token at a time."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import AsyncGeneratorType, TracebackType
from typing import Any, get_args

from mlr.choosing import Chooser
from mlr.engines.base import Engine, Sampling
from mlr.errors import ContextLengthError, RequestError
from mlr.grammar.constraint import Constraint
from mlr.scheduler import Generation, OnFull, Scheduler
from mlr.speculation.draft import Drafting, DraftModel
from mlr.speculation.guesser import Guesser, Speculation
from mlr.speculation.lookup import LookUp
from mlr.tokenizer import Tokenizer

__all__ = [
    "Completion",
    "GenerationOptions",
    "Run",
    "Timings",
    "Token",
    "TokenStream",
    "check_prompt",
]

MAX_STOP_SEQUENCES = 16
MAX_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token. `text` may be empty while a character is incomplete or while the
    text so far could be the start of a stop sequence.

    Where log probabilities are asked for, `logprob` is the token's and `top_logprobs` has the
    likeliest tokens with theirs: of the model itself, before penalties, temperature and grammar.
    An end token has none.
    """

    id: int
    text: str
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds and tokens a second, None where there was too little to measure; and what was
    done for them."""

    load_ms: float
    first_token_ms: float | None
    prompt_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    cached_tokens: int = 0  # of the prompt: found in the KV cache and not evaluated anew
    guessed_tokens: int = 0  # evaluated before it was certain that they come
    confirmed_tokens: int = 0  # of these: those that came


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished generation. `finish_reason` is `stop` (an end token, a stop sequence, or the end
    of the response format) or `length` (`max_tokens`, or the context is full). `tokens` are those
    that the stream gave."""

    text: str
    token_ids: list[int]
    prompt_token_ids: list[int]
    finish_reason: str
    stop_sequence: str | None
    timings: Timings
    tokens: list[Token] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """What a generation is asked for. Raises `RequestError` for values out of range."""

    max_tokens: int
    stop: tuple[str, ...]
    sampling: Sampling
    logprobs: int | None
    response_format: Any
    on_full: OnFull
    speculate: Speculation | None

    @classmethod
    def create(
        cls,
        *,
        max_tokens: int = 128,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repeat_penalty: float = 1.0,
        repeat_last_n: int = 64,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        seed: int | None = None,
        logprobs: int | None = None,
        response_format: Any = None,
        on_full: OnFull = "stop",
        speculate: Speculation | None = "draft",
    ) -> GenerationOptions:
        """Check the options; `seed` None draws one. `response_format` is for a `Constrainer`."""
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
            raise RequestError(
                f"max_tokens must be a whole number of at least 1, got {max_tokens!r}"
            )
        try:
            stop = (stop,) if isinstance(stop, str) else tuple(stop)
        except TypeError:
            raise RequestError(f"stop must be a string or several, got {stop!r:.60}") from None
        if len(stop) > MAX_STOP_SEQUENCES or not all(isinstance(s, str) and s for s in stop):
            raise RequestError(
                f"stop must be at most {MAX_STOP_SEQUENCES} strings, none of them empty"
            )
        if logprobs is not None and (
            isinstance(logprobs, bool)
            or not isinstance(logprobs, int)
            or not 0 <= logprobs <= MAX_LOGPROBS
        ):
            raise RequestError(
                f"logprobs must be a whole number from 0 to {MAX_LOGPROBS}, got {logprobs!r}"
            )
        if on_full not in get_args(OnFull):
            raise RequestError(f"on_full must be stop or shift, got {on_full!r}")
        if speculate is not None and speculate not in get_args(Speculation):
            raise RequestError(f"speculate must be draft, lookup or None, got {speculate!r}")
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            repeat_last_n=repeat_last_n,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
            seed=int.from_bytes(os.urandom(8)) if seed is None else seed,
        )
        return cls(max_tokens, stop, sampling, logprobs, response_format, on_full, speculate)


class StopMatcher:
    """Holds text back while it could be the start of a stop sequence."""

    def __init__(self, sequences: tuple[str, ...]) -> None:
        self._sequences = sequences
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """The part of the text so far that is certain to come before any stop sequence."""
        if not self._sequences:
            return text
        self._held += text
        hits = [(at, s) for s in self._sequences if (at := self._held.find(s)) >= 0]
        if hits:
            at, self.found = min(hits)
            return self._held[:at]
        keep = max(
            (
                size
                for s in self._sequences
                for size in range(1, min(len(s), len(self._held)) + 1)
                if self._held.endswith(s[:size])
            ),
            default=0,
        )
        cut = len(self._held) - keep
        ready, self._held = self._held[:cut], self._held[cut:]
        return ready

    def flush(self) -> str:
        """What is still held, once no more text can come."""
        held, self._held = self._held, ""
        return held


def check_prompt(ids: list[int], engine: Engine) -> None:
    """Raise `RequestError` for a prompt without tokens, `ContextLengthError` for one too long."""
    if not ids:
        raise RequestError("the prompt is empty")
    if len(ids) > engine.context_length:
        raise ContextLengthError(
            f"the prompt has {len(ids)} tokens and the context holds "
            f"{engine.context_length}: shorten it, or load with a longer context_length"
        )


class TokenStream:
    """An asynchronous iterator over the tokens of one generation.

    At most one step is computed before it is asked for, so a caller that stops asking stops the
    generation, and no other. A sequence of the engine belongs to this stream until it ends or is
    closed: close it by `aclose()`, by `async with`, or by dropping it. For a task that waits for a
    token, closing by another one is the end of the iteration. `completion` is set once the
    generation has ended by itself.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tokens = run.tokens()

    @property
    def completion(self) -> Completion | None:
        """The completion, once the generation has ended by itself."""
        return self._run.completion

    def __aiter__(self) -> TokenStream:
        return self

    async def __anext__(self) -> Token:
        return await self._tokens.__anext__()

    async def aclose(self) -> None:
        """Stop generating and let the next caller have the engine."""
        assert isinstance(self._tokens, AsyncGeneratorType)
        if self._tokens.ag_running:
            self._run.release()
        else:
            await self._tokens.aclose()

    async def __aenter__(self) -> TokenStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class Run:
    """What a stream reads. It does not know the stream, so that one that is dropped is gone at
    once, and its sequence free."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        scheduler: Scheduler,
        prompt_ids: list[int],
        options: GenerationOptions,
        constraint: Constraint | None,
        draft: DraftModel | None,
        load_ms: float,
        notify: Callable[[Token | Completion], None],
    ) -> None:
        check_prompt(prompt_ids, engine)
        self._tokenizer, self._scheduler = tokenizer, scheduler
        self._prompt_ids, self._options, self._load_ms = prompt_ids, options, load_ms
        self._constraint, self._draft, self._notify = constraint, draft, notify
        self.completion: Completion | None = None
        choose = Chooser(constraint, tokenizer.end_ids, options.logprobs)
        self._generation = self._make_generation(choose)

    def release(self) -> None:
        """Stop generating; whoever waits for a token hears that there is none."""
        self._scheduler.release(self._generation)

    async def tokens(self) -> AsyncGenerator[Token, None]:
        """The tokens, one by one."""
        generation = self._generation
        marks = frozenset[int]() if self._constraint is None else self._constraint.marks
        decoder, matcher = self._tokenizer.stream(shown=marks), StopMatcher(self._options.stop)
        ids: list[int] = []
        given: list[Token] = []
        times: list[float] = []
        last = generation.choose.complete
        reason = "stop" if last else "length"
        if not last:
            self._scheduler.submit(generation)
        try:
            while not last:
                chosen = await self._scheduler.next(generation)
                if chosen is None:
                    return
                times.append(chosen.at)
                ended, last = chosen.id in self._tokenizer.end_ids, chosen.last
                if ended:
                    piece = decoder.flush()
                else:
                    ids.append(chosen.id)
                    piece = decoder.push(chosen.id)
                if last and not ended:
                    piece += decoder.flush()
                piece = matcher.push(piece)
                if matcher.found is not None:
                    last = True
                elif last:
                    piece += matcher.flush()
                if chosen.ends or matcher.found is not None:
                    reason = "stop"
                # an end token is given out only when it brings text that was held back
                if piece or not ended:
                    token = Token(chosen.id, piece, chosen.logprob, chosen.top)
                    given.append(token)
                    self._notify(token)
                    yield token
        finally:
            self.release()
        self.completion = Completion(
            "".join(token.text for token in given),
            ids,
            self._prompt_ids,
            reason,
            matcher.found,
            _timings(generation, times, self._load_ms),
            given,
        )
        self._notify(self.completion)

    def _make_generation(self, choose: Chooser) -> Generation:
        options = self._options
        return Generation(
            prompt=self._prompt_ids,
            max_tokens=options.max_tokens,
            sampling=options.sampling,
            choose=choose,
            on_full=options.on_full,
            guesser=self._guesser(choose),
        )

    def _guesser(self, choose: Chooser) -> Guesser | None:
        if self._options.speculate == "lookup":
            return LookUp()
        if self._options.speculate == "draft" and self._draft is not None:
            return Drafting(self._draft, self._options.sampling, choose)
        return None


def _timings(generation: Generation, times: list[float], load_ms: float) -> Timings:
    """From when a generation began, had its prompt evaluated, and chose each token."""
    if not times:
        return Timings(load_ms, None, None, None)
    prompt_seconds = generation.prompt_done - generation.started
    decode_seconds = times[-1] - times[0]
    evaluated = len(generation.prompt) - generation.cached_tokens
    return Timings(
        load_ms=load_ms,
        first_token_ms=(times[0] - generation.started) * 1e3,
        prompt_tokens_per_s=evaluated / prompt_seconds if prompt_seconds > 0 else None,
        decode_tokens_per_s=(len(times) - 1) / decode_seconds if decode_seconds > 0 else None,
        cached_tokens=generation.cached_tokens,
        guessed_tokens=generation.guessed,
        confirmed_tokens=generation.confirmed,
    )
