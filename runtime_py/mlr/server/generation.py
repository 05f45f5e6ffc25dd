"""From a checked request to its answer: queue, tokenize, generate, and send whole or as a stream.

Both endpoints share this; what they send differs, and is given by a `Shape`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from mlr.errors import RequestError
from mlr.server.errors import ApiError
from mlr.server.registry import ServedModel
from mlr.server.schema import GenerationRequest
from mlr.server.sse import EventSender
from mlr.server.work import ClientGone, Work

if TYPE_CHECKING:
    from mlr.generation import Completion, Token, TokenStream
    from mlr.model import Model

__all__ = ["Choice", "GenerationResponse", "PreparedPrompt", "Shape", "Usage"]


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """A prompt that fits the model."""

    tokens: list[int]
    echo: str = ""
    """What the answer begins with, before anything generated."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer to one prompt."""

    index: int
    text: str
    finish_reason: str
    tokens: list[Token]
    """Those generated; `text` may have more in front."""
    echoed: int
    """Characters of `text` that are the prompt's."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that a request took."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Of the prompts: found in the KV cache and not evaluated anew."""

    def body(self) -> dict[str, Any]:
        """OpenAI's usage object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


class Shape(Protocol):
    """How one endpoint's answers look in JSON."""

    def opening(self, index: int) -> dict[str, Any] | None:
        """The event before a choice's first text, if there is one."""
        ...

    def delta(self, index: int, text: str, tokens: Sequence[Token] = ()) -> list[dict[str, Any]]:
        """The events with the next piece of text, and the tokens that it came with."""
        ...

    def closing(self, index: int, finish_reason: str) -> list[dict[str, Any]]:
        """The events at a choice's end; the last says why it ended."""
        ...

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The event with the usage."""
        ...

    def whole(self, choices: list[Choice], usage: Usage) -> dict[str, Any]:
        """The answer in one piece."""
        ...


class GenerationResponse(Response):
    """Generates while it responds, so that the client's leaving ends the generation."""

    def __init__(
        self,
        request: GenerationRequest,
        served: ServedModel,
        shape: Shape,
        prompts: Sequence[Callable[[], PreparedPrompt]],
        work: Work,
        response_format: dict[str, Any] | None,
    ) -> None:
        """Each of `prompts` prepares one: slowly perhaps, so in a thread; may raise `ApiError`.

        `response_format` is what the answer is held to.
        """
        super().__init__()
        self._request = request
        self._served = served
        self._shape = shape
        self._prompts = prompts
        self._work = work
        self._format = response_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Raises `ApiError` and `MlrError` only before anything is sent."""
        sender = EventSender(send)
        try:
            with self._served.turns.admit():
                if self._request.stream:
                    await self._work.run(receive, self._stream(sender))
                else:
                    body = await self._work.run(receive, self._complete())
                    await JSONResponse(body)(scope, receive, send)
        except ClientGone:
            return
        except ApiError as error:
            if not sender.started:
                raise
            await sender.fail(error)

    async def _prepare(self) -> list[PreparedPrompt]:
        await asyncio.to_thread(self._check_format)
        return [await asyncio.to_thread(prompt) for prompt in self._prompts]

    def _check_format(self) -> None:
        try:
            self._served.model.check_format(self._format)
        except RequestError as error:
            own = self._format is self._request.response_format
            param = None if self._format is None else "response_format" if own else "tools"
            raise ApiError(400, str(error), param=param, code="invalid_value") from None

    async def _stream(self, sender: EventSender) -> None:
        prompts = await self._prepare()
        await sender.send_all(self._events(prompts))

    async def _events(self, prompts: list[PreparedPrompt]) -> AsyncGenerator[dict[str, Any], None]:
        done = []
        for index, prompt in enumerate(prompts):
            opening = self._shape.opening(index)
            if opening is not None:
                yield opening
            if prompt.echo:
                for event in self._shape.delta(index, prompt.echo):
                    yield event
            waiting: list[Token] = []  # without text so far
            async with self._turn(prompt) as stream:
                async for token in stream:
                    waiting.append(token)
                    if token.text:
                        for event in self._shape.delta(index, token.text, waiting):
                            yield event
                        waiting = []
            if any(token.logprob is not None for token in waiting):
                for event in self._shape.delta(index, "", waiting):
                    yield event
            completion = _finished(stream)
            done.append(completion)
            for event in self._shape.closing(index, completion.finish_reason):
                yield event
        if self._request.include_usage:
            yield self._shape.usage(_usage(prompts, done))

    async def _complete(self) -> dict[str, Any]:
        prompts = await self._prepare()
        choices = []
        done = []
        for index, prompt in enumerate(prompts):
            async with self._turn(prompt) as stream:
                async for _ in stream:
                    pass
            completion = _finished(stream)
            done.append(completion)
            text = prompt.echo + completion.text
            choices.append(
                Choice(index, text, completion.finish_reason, completion.tokens, len(prompt.echo))
            )
        return self._shape.whole(choices, _usage(prompts, done))

    @asynccontextmanager
    async def _turn(self, prompt: PreparedPrompt) -> AsyncIterator[TokenStream]:
        """Wait for the model and continue a prompt with it."""
        async with (
            self._served.use() as model,
            aclosing(self._start(model, prompt)) as stream,
        ):
            yield stream

    def _start(self, model: Model, prompt: PreparedPrompt) -> TokenStream:
        request = self._request
        return model.stream(
            prompt.tokens,
            max_tokens=request.most_tokens,
            stop=request.stop,
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            top_k=request.top_k or 0,
            min_p=request.min_p or 0.0,
            repeat_penalty=1.0 if request.repeat_penalty is None else request.repeat_penalty,
            frequency_penalty=request.frequency_penalty or 0.0,
            presence_penalty=request.presence_penalty or 0.0,
            logprobs=request.alternatives,
            response_format=self._format,
            # OpenAI's seeds are signed.
            seed=None if request.seed is None else request.seed % 2**64,
        )


def _finished(stream: TokenStream) -> Completion:
    """The whole of a stream that was read to its end."""
    assert stream.completion is not None
    return stream.completion


def _usage(prompts: list[PreparedPrompt], done: list[Completion]) -> Usage:
    return Usage(
        sum(len(prompt.tokens) for prompt in prompts),
        sum(len(completion.token_ids) for completion in done),
        sum(completion.timings.cached_tokens for completion in done),
    )
