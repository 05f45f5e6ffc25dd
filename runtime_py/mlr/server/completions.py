"""`POST /v1/completions`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from mlr.server.body import read_object
from mlr.server.generation import Choice, GenerationResponse, Usage
from mlr.server.identity import Identity, new_identity
from mlr.server.logprobs import completion_logprobs
from mlr.server.prompts import prepare
from mlr.server.registry import Registry
from mlr.server.schema import CompletionRequest, parse
from mlr.server.work import Work

if TYPE_CHECKING:
    from mlr.generation import Token
    from mlr.tokenizer import Tokenizer

__all__ = ["completions"]


class CompletionShape:
    """OpenAI's `text_completion` objects; a stream's chunks look like the whole."""

    def __init__(self, identity: Identity, include_usage: bool, tokenizer: Tokenizer) -> None:
        self._identity = identity
        self._include_usage = include_usage
        self._tokenizer = tokenizer
        self._sent: dict[int, int] = {}  # characters, by choice

    def opening(self, index: int) -> dict[str, Any] | None:
        """A completion has none."""
        return None

    def delta(self, index: int, text: str, tokens: Sequence[Token] = ()) -> list[dict[str, Any]]:
        """The next piece of text."""
        sent = self._sent.get(index, 0)
        self._sent[index] = sent + len(text)
        logprobs = completion_logprobs(self._tokenizer, tokens, sent)
        return [self._chunk([_choice(index, text, None, logprobs)])]

    def closing(self, index: int, finish_reason: str) -> list[dict[str, Any]]:
        """Why a choice ended."""
        return [self._chunk([_choice(index, "", finish_reason)])]

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The usage, without a choice."""
        return self._chunk([]) | {"usage": usage.body()}

    def whole(self, choices: list[Choice], usage: Usage) -> dict[str, Any]:
        """The answer in one piece."""
        return self._identity.body("text_completion") | {
            "choices": [
                _choice(
                    item.index,
                    item.text,
                    item.finish_reason,
                    completion_logprobs(self._tokenizer, item.tokens, item.echoed),
                )
                for item in choices
            ],
            "usage": usage.body(),
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = self._identity.body("text_completion") | {"choices": choices}
        return chunk | {"usage": None} if self._include_usage else chunk


def _choice(
    index: int, text: str, finish_reason: str | None, logprobs: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}


async def completions(request: Request) -> Response:
    """Continue one or several prompts."""
    registry: Registry = request.app.state.registry
    work: Work = request.app.state.work
    wanted = parse(CompletionRequest, await read_object(request))
    served = registry.get(wanted.model)

    prompts = [
        partial(
            prepare,
            served.model,
            prompt,
            param="prompt",
            echo=bool(wanted.echo),
        )
        for prompt in wanted.prompt
    ]
    identity = new_identity("cmpl", served.id)
    shape = CompletionShape(identity, wanted.include_usage, served.model.tokenizer)
    return GenerationResponse(wanted, served, shape, prompts, work, wanted.response_format)
