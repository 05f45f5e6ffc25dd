"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mlr.server.body import read_object
from mlr.server.errors import ApiError
from mlr.server.generation import Choice, GenerationResponse, PreparedPrompt, Usage
from mlr.server.identity import Identity, new_identity
from mlr.server.prompts import prepare
from mlr.server.registry import Registry, ServedModel
from mlr.server.schema import ChatRequest, Message, parse
from mlr.server.work import Work

__all__ = ["chat_completions"]


class ChatShape:
    """OpenAI's `chat.completion` object, and `chat.completion.chunk` in a stream."""

    def __init__(self, identity: Identity, include_usage: bool) -> None:
        self._identity = identity
        self._include_usage = include_usage

    def opening(self, index: int) -> dict[str, Any] | None:
        """The chunk that says whose turn it is."""
        return self._chunk([_delta(index, {"role": "assistant", "content": ""}, None)])

    def delta(self, index: int, text: str) -> dict[str, Any]:
        """The next piece of text."""
        return self._chunk([_delta(index, {"content": text}, None)])

    def closing(self, index: int, finish_reason: str) -> dict[str, Any]:
        """Why the answer ended."""
        return self._chunk([_delta(index, {}, finish_reason)])

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The usage, without a choice."""
        return self._chunk([]) | {"usage": usage.body()}

    def whole(self, choices: list[Choice], usage: Usage) -> dict[str, Any]:
        """The answer in one piece."""
        return self._identity.body("chat.completion") | {
            "choices": [
                {
                    "index": item.index,
                    "message": {"role": "assistant", "content": item.text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": item.finish_reason,
                }
                for item in choices
            ],
            "usage": usage.body(),
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = self._identity.body("chat.completion.chunk") | {"choices": choices}
        return chunk | {"usage": None} if self._include_usage else chunk


def _delta(index: int, delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


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

    def prepare_chat() -> PreparedPrompt:
        return prepare(
            served.model,
            _prompt_text(served, wanted.messages),
            param="messages",
            max_tokens=wanted.max_completion_tokens or wanted.max_tokens,
            # A template writes the beginning of the sequence itself.
            add_special=served.model.chat_template is None,
        )

    shape = ChatShape(new_identity("chatcmpl", served.id), wanted.include_usage)
    return GenerationResponse(wanted, served, shape, [prepare_chat], work)


def _prompt_text(served: ServedModel, messages: list[Message]) -> str:
    """The messages through the model's template, or as a plain transcript without one.

    Raises `TemplateError` when the template refuses them.
    """
    from mlr.tokenizer import chat

    model = served.model
    tokenizer = model.tokenizer
    return chat.render(
        chat.PLAIN if model.chat_template is None else model.chat_template,
        [
            # Templates know the older name of what developers say.
            {"role": item.role.replace("developer", "system"), "content": item.content}
            for item in messages
        ],
        bos_token="" if tokenizer.bos_id is None else tokenizer.piece(tokenizer.bos_id),
        eos_token="" if tokenizer.eos_id is None else tokenizer.piece(tokenizer.eos_id),
    )
