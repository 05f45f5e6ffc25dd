"""Generating text: the loop from prompt ids to a completion, one token at a time."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from mlr.engines.base import Engine, Sampling
from mlr.errors import ContextLengthError, RequestError
from mlr.grammar.constraint import Constraint
from mlr.hosts.base import Host
from mlr.tokenizer import Tokenizer

__all__ = ["Completion", "GenerationOptions", "Timings", "Token", "TokenStream"]

PREFILL_STEP = 64  # tokens evaluated between two chances to stop
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
    """Milliseconds and tokens a second; None where there was too little to measure."""

    load_ms: float
    first_token_ms: float | None
    prompt_tokens_per_s: float | None
    decode_tokens_per_s: float | None


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
    ) -> GenerationOptions:
        """Check the options; `seed` None draws one. `response_format` is for a `Constrainer`."""
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
            raise RequestError(
                f"max_tokens must be a whole number of at least 1, got {max_tokens!r}"
            )
        stop = (stop,) if isinstance(stop, str) else tuple(stop)
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
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            repeat_last_n=repeat_last_n,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
            seed=secrets.randbits(64) if seed is None else seed,
        )
        return cls(max_tokens, stop, sampling, logprobs, response_format)


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


class TokenStream:
    """An asynchronous iterator over the tokens of one generation.

    Each step is computed when it is asked for, so a caller that stops asking stops the engine.
    The engine belongs to this stream until it ends or is closed: close it by `aclose()`, by
    `async with`, or by dropping it. `completion` is set once the generation has ended.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        host: Host,
        lock: asyncio.Lock,
        prompt_ids: list[int],
        options: GenerationOptions,
        constraint: Constraint | None,
        load_ms: float,
        notify: Callable[[Token | Completion], None],
    ) -> None:
        if not prompt_ids:
            raise RequestError("the prompt is empty")
        if len(prompt_ids) > engine.context_length:
            raise ContextLengthError(
                f"the prompt has {len(prompt_ids)} tokens and the context holds "
                f"{engine.context_length}: shorten it, or load with a longer context_length"
            )
        self._engine, self._tokenizer, self._host, self._lock = engine, tokenizer, host, lock
        self._prompt_ids, self._options, self._load_ms = prompt_ids, options, load_ms
        self._constraint, self._notify = constraint, notify
        self.completion: Completion | None = None
        self._tokens = self._generate()

    def __aiter__(self) -> TokenStream:
        return self

    async def __anext__(self) -> Token:
        return await self._tokens.__anext__()

    async def aclose(self) -> None:
        """Stop generating and let the next caller have the engine."""
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

    async def _generate(self) -> AsyncGenerator[Token, None]:
        async with self._lock:
            clock = _Clock()
            await self._prefill()
            clock.prompt_done()
            decoder, matcher = self._tokenizer.stream(), StopMatcher(self._options.stop)
            ids: list[int] = []
            given: list[Token] = []
            last = self._complete()
            reason = "stop" if last else "length"
            while not last:
                step = self._next if ids else self._choose
                chosen = await self._host.run(step, *ids[-1:])
                clock.token_done()
                ended = chosen.id in self._tokenizer.end_ids
                if ended:
                    piece = decoder.flush()
                else:
                    ids.append(chosen.id)
                    piece = decoder.push(chosen.id)
                stopped = ended or self._complete()
                last = stopped or len(ids) >= self._options.max_tokens or self._full()
                if last and not ended:
                    piece += decoder.flush()
                piece = matcher.push(piece)
                if matcher.found is not None:
                    last = True
                elif last:
                    piece += matcher.flush()
                if stopped or matcher.found is not None:
                    reason = "stop"
                # an end token is given out only when it brings text that was held back
                if piece or not ended:
                    token = Token(chosen.id, piece, chosen.logprob, chosen.top)
                    given.append(token)
                    self._notify(token)
                    yield token
            self.completion = Completion(
                "".join(token.text for token in given),
                ids,
                self._prompt_ids,
                reason,
                matcher.found,
                clock.timings(self._load_ms, len(self._prompt_ids)),
                given,
            )
            self._notify(self.completion)

    async def _prefill(self) -> None:
        self._engine.truncate(0)
        self._engine.configure(self._options.sampling)
        self._engine.set_mask(None)
        for start in range(0, len(self._prompt_ids), PREFILL_STEP):
            await self._host.run(self._evaluate_part, start)

    def _evaluate_part(self, start: int) -> None:
        end = min(start + PREFILL_STEP, len(self._prompt_ids))
        last = end == len(self._prompt_ids)
        self._engine.evaluate(self._prompt_ids[start:end], logits=last)

    def _full(self) -> bool:
        return self._engine.position() >= self._engine.context_length

    def _complete(self) -> bool:
        return self._constraint is not None and self._constraint.finished

    def _next(self, token: int) -> _Chosen:
        self._engine.evaluate([token])
        return self._choose()

    def _choose(self) -> _Chosen:
        """A token for the last logits, which the constraint then goes on with."""
        if self._constraint is not None:
            self._engine.set_mask(self._constraint.mask())
        token = self._engine.sample()
        if token in self._tokenizer.end_ids:
            return _Chosen(token)
        if self._constraint is not None:
            self._constraint.advance(token)
        wanted = self._options.logprobs
        if wanted is None:
            return _Chosen(token)
        top = tuple(self._engine.top(wanted)) if wanted else ()
        logprob = dict(top).get(token)
        return _Chosen(token, self._engine.logprob(token) if logprob is None else logprob, top)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What one step gave."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class _Clock:
    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._prompt = self._first = self._last = 0.0
        self._tokens = 0

    def prompt_done(self) -> None:
        self._prompt = time.perf_counter()

    def token_done(self) -> None:
        self._last = time.perf_counter()
        self._tokens += 1
        if self._tokens == 1:
            self._first = self._last

    def timings(self, load_ms: float, prompt_tokens: int) -> Timings:
        prompt_seconds, decode_seconds = self._prompt - self._start, self._last - self._first
        return Timings(
            load_ms=load_ms,
            first_token_ms=(self._first - self._start) * 1e3 if self._tokens else None,
            prompt_tokens_per_s=prompt_tokens / prompt_seconds if prompt_seconds > 0 else None,
            decode_tokens_per_s=(self._tokens - 1) / decode_seconds if decode_seconds > 0 else None,
        )
