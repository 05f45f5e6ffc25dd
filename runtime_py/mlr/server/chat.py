"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from mlr.server.body import read_object
from mlr.server.call_reader import CallReader, message_of
from mlr.server.errors import ApiError
from mlr.server.generation import Choice, GenerationResponse, PreparedPrompt, Usage
from mlr.server.identity import Identity, new_identity
from mlr.server.logprobs import chat_logprobs
from mlr.server.prompts import prepare
from mlr.server.registry import Registry, ServedModel
from mlr.server.schema import ChatRequest, parse
from mlr.server.tools import answer_format, call_form, template_messages, template_tools
from mlr.server.work import Work

if TYPE_CHECKING:
    from mlr.generation import Token
    from mlr.tokenizer import Tokenizer

__all__ = ["chat_completions"]


class ChatShape:
    """OpenAI's `chat.completion` object, and `chat.completion.chunk` in a stream."""

    def __init__(
        self,
        identity: Identity,
        request: ChatRequest,
        tokenizer: Tokenizer,
        reader: CallReader | None,
    ) -> None:
        """`reader` reads the calls of an answer that is held to their form."""
        self._identity = identity
        self._include_usage = request.include_usage
        self._tokenizer = tokenizer
        self._reader = reader

    def opening(self, index: int) -> dict[str, Any] | None:
        """The chunk that says whose turn it is."""
        return self._chunk([_delta(index, {"role": "assistant", "content": ""}, None)])

    def delta(self, index: int, text: str, tokens: Sequence[Token] = ()) -> list[dict[str, Any]]:
        """The next piece of text, or of a call."""
        logprobs = chat_logprobs(self._tokenizer, tokens)
        deltas: list[dict[str, Any]] = [{"content": text}]
        if self._reader is not None:
            deltas = self._reader.push(text)
        if logprobs is not None and not deltas:
            deltas = [{}]
        return [
            self._chunk([_delta(index, delta, None, logprobs if number == 0 else None)])
            for number, delta in enumerate(deltas)
        ]

    def closing(self, index: int, finish_reason: str) -> list[dict[str, Any]]:
        """Why the answer ended."""
        deltas: list[dict[str, Any]] = []
        if self._reader is not None:
            deltas, finish_reason = self._reader.finish(finish_reason)
        chunks = [self._chunk([_delta(index, delta, None)]) for delta in deltas]
        return [*chunks, self._chunk([_delta(index, {}, finish_reason)])]

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The usage, without a choice."""
        return self._chunk([]) | {"usage": usage.body()}

    def whole(self, choices: list[Choice], usage: Usage) -> dict[str, Any]:
        """The answer in one piece."""
        return self._identity.body("chat.completion") | {
            "choices": [self._choice(item) for item in choices],
            "usage": usage.body(),
        }

    def _choice(self, choice: Choice) -> dict[str, Any]:
        deltas: list[dict[str, Any]] = [{"content": choice.text}]
        reason = choice.finish_reason
        if self._reader is not None:
            deltas = self._reader.push(choice.text)
            last, reason = self._reader.finish(reason)
            deltas += last
        return {
            "index": choice.index,
            "message": message_of(deltas),
            "logprobs": chat_logprobs(self._tokenizer, choice.tokens),
            "finish_reason": reason,
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = self._identity.body("chat.completion.chunk") | {"choices": choices}
        return chunk | {"usage": None} if self._include_usage else chunk


def _delta(
    index: int,
    delta: dict[str, Any],
    finish_reason: str | None,
    logprobs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


async def chat_completions(request: Request) -> Response:
    """Answer the last message of a chat."""
    registry: Registry = request.app.state.registry
    work: Work = request.app.state.work
    wanted = parse(ChatRequest, await read_object(request))
    if wanted.max_tokens is not None and wanted.max_completion_tokens is not None:
        raise ApiError(
            400,
            "'max_tokens' and 'max_completion_tokens' mean the same: send one of them",
            param="max_tokens",
            code="invalid_value",
        )
    served = registry.get(wanted.model)
    template = _template(served)

    def prepare_chat() -> PreparedPrompt:
        return prepare(
            served.model,
            _prompt_text(served, wanted, template),
            param="messages",
            # A template writes the beginning of the sequence itself.
            add_special=served.model.chat_template is None,
        )

    identity = new_identity("chatcmpl", served.id)
    reader = CallReader(call_form(template)) if wanted.callable_tools else None
    shape = ChatShape(identity, wanted, served.model.tokenizer, reader)
    response_format = answer_format(wanted, template)
    return GenerationResponse(wanted, served, shape, [prepare_chat], work, response_format)


def _template(served: ServedModel) -> str:
    """The model's template, or without one that of a plain transcript."""
    from mlr.tokenizer.chat import PLAIN

    own = served.model.chat_template
    return PLAIN if own is None else own


def _prompt_text(served: ServedModel, request: ChatRequest, template: str) -> str:
    """The messages through a template. Raises `TemplateError` when it refuses them."""
    from mlr.tokenizer import chat

    tokenizer = served.model.tokenizer
    return chat.render(
        template,
        template_messages(request, template),
        bos_token="" if tokenizer.bos_id is None else tokenizer.piece(tokenizer.bos_id),
        eos_token="" if tokenizer.eos_id is None else tokenizer.piece(tokenizer.eos_id),
        tools=template_tools(request, template),
    )
