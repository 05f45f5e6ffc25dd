"""A model behind JSON, for callers outside Python: the worker of the page (`web/src/engine`).

Every answer is a JSON object, `{"value": …}` or `{"error": {"name": …, "message": …}}`, so that
nothing crosses the border that either side would have to free. Names inside are in camel case, as
JavaScript has them.

The imports bring in everything that loading and generating need: what they import is part of the
memory snapshot that the page starts from.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import mlr.bundle.reader
import mlr.engines.kernel.opening
import mlr.tokenizer.gguf  # noqa: F401
from mlr import hosts
from mlr.errors import EngineError, MlrError
from mlr.generation import Completion, Token
from mlr.hosts.base import LoadProgress
from mlr.model import Model, load

__all__ = ["Session"]

ProgressSink = Callable[[str, int, int], object]  # stage, bytes done, bytes in all
TokenSink = Callable[[int, str, str | None], object]  # token id, text, log probabilities as JSON


class Session:
    """At most one loaded model and the generations that run or wait on it."""

    def __init__(self) -> None:
        self._model: Model | None = None
        self._running: dict[int, asyncio.Task[str]] = {}

    async def load(self, url: str, options: str, on_progress: ProgressSink) -> str:
        """Load the bundle at `url` with `mlr.load`'s options; answers with what it is."""

        def report(progress: LoadProgress) -> None:
            on_progress(progress.stage, progress.done, progress.total)

        async def run() -> dict[str, Any]:
            self._model = await load(url, on_progress=report, **json.loads(options))
            return _info(self._model)

        return await _answer(run())

    def generate(
        self, number: int, prompt: str, options: str, on_token: TokenSink | None
    ) -> asyncio.Task[str]:
        """Start a generation under a number that `stop` takes; answers with the completion.

        `prompt` (a string or token ids) and `options` (of `Model.stream`) are JSON. A stopped
        generation answers with null.
        """
        task = asyncio.ensure_future(_answer(self._generate(prompt, options, on_token)))
        self._running[number] = task
        task.add_done_callback(lambda _: self._running.pop(number, None))
        return task

    async def _generate(
        self, prompt: str, options: str, on_token: TokenSink | None
    ) -> dict[str, Any] | None:
        try:
            async with self._loaded().stream(json.loads(prompt), **json.loads(options)) as tokens:
                async for token in tokens:
                    if on_token is not None:
                        likely = None if token.logprob is None else json.dumps(_logprobs(token))
                        on_token(token.id, token.text, likely)
        except asyncio.CancelledError:
            return None
        assert tokens.completion is not None
        return _completion(tokens.completion)

    def stop(self, number: int) -> None:
        """Stop a generation; nothing happens when it has ended."""
        task = self._running.get(number)
        if task is not None:
            task.cancel()

    def tokenize(self, text: str, add_special: bool) -> str:
        """The token ids of a text."""
        try:
            value = self._loaded().tokenize(text, add_special=add_special)
        except MlrError as error:
            return _error(error)
        return json.dumps({"value": value})

    async def close(self) -> None:
        """Stop every generation and free the model. Safe to call twice."""
        for task in list(self._running.values()):
            task.cancel()
        if self._model is not None:
            await self._model.close()

    def _loaded(self) -> Model:
        if self._model is None:
            raise EngineError("no model is loaded; load one first")
        return self._model


async def _answer(work: Awaitable[Any]) -> str:
    try:
        return json.dumps({"value": await work})
    except MlrError as error:
        return _error(error)


def _error(error: MlrError) -> str:
    return json.dumps({"error": {"name": type(error).__name__, "message": str(error)}})


def _info(model: Model) -> dict[str, Any]:
    info, memory = model.info, model.info.memory
    reason = hosts.current().thread_limit_reason()
    return {
        "name": info.name,
        "architecture": info.architecture,
        "parameters": info.parameters,
        "quantization": info.quantization,
        "engine": info.engine,
        "engineDetail": info.engine_detail,
        "threads": info.threads,
        "contextLength": info.context_length,
        "vocabularySize": info.vocabulary_size,
        "memory": {
            "weights": memory.weights,
            "kvCache": memory.kv_cache,
            "scratch": memory.scratch,
            "total": memory.total,
        },
        "license": {
            "id": info.license.id,
            "notice": info.license.notice,
            "url": info.license.url,
        },
        "hasChatTemplate": info.has_chat_template,
        "notices": [] if reason is None else [reason],
    }


def _completion(completion: Completion) -> dict[str, Any]:
    timings = completion.timings
    return {
        "text": completion.text,
        "tokenIds": completion.token_ids,
        "promptTokenIds": completion.prompt_token_ids,
        "finishReason": completion.finish_reason,
        "stopSequence": completion.stop_sequence,
        "tokens": [
            {"id": token.id, "text": token.text, **_logprobs(token)}
            for token in completion.tokens
            if token.logprob is not None
        ],
        "timings": {
            "firstTokenMs": timings.first_token_ms,
            "promptTokensPerSecond": timings.prompt_tokens_per_s,
            "decodeTokensPerSecond": timings.decode_tokens_per_s,
        },
    }


def _logprobs(token: Token) -> dict[str, Any]:
    return {
        "logprob": token.logprob,
        "topLogprobs": [{"id": id, "logprob": value} for id, value in token.top_logprobs],
    }
