"""What a request to `/v1/completions` and `/v1/chat/completions` may hold.

Pydantic checks names, types and ranges; `parameters` has what is not supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from mlr.server import limits
from mlr.server.errors import ApiError
from mlr.server.parameters import (
    IGNORED,
    UNSUPPORTED,
    UNSUPPORTED_IN_COMPLETION,
    UNSUPPORTED_IN_MESSAGE,
    Strict,
    without_unsupported,
)
from mlr.server.tool_schema import ChosenTool, Tool, ToolCall

__all__ = [
    "ChatRequest",
    "CompletionRequest",
    "EmbeddingRequest",
    "GenerationRequest",
    "Message",
    "Prompt",
    "RerankRequest",
    "parse",
]

DEFAULT_MAX_TOKENS = 16  # of completions, as with OpenAI

Prompt = str | list[int]


def _problem(message: str) -> PydanticCustomError:
    # The braces of a custom message are placeholders.
    return PydanticCustomError("mlr", "{text}", {"text": message})


def _as_list(value: object) -> object:
    """`stop`: one string stands for a list of one, null for none."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def _none_for_false(value: object) -> object:
    """`logprobs` of a completion: a number, but false is sent for none."""
    return None if value is False else value


def _check_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _problem(f"character {error.start} is half of a surrogate pair") from None
    return text


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _prompts(value: object) -> list[Prompt]:
    return _texts(value, limits.MAX_PROMPTS)


def _inputs(value: object) -> list[Prompt]:
    return _texts(value, limits.MAX_INPUTS)


def _texts(value: object, most: int) -> list[Prompt]:
    """Texts or token ids, from any of the four forms that OpenAI's interface allows."""
    if isinstance(value, str):
        return [_check_text(value)]
    if not isinstance(value, list) or not value:
        raise _problem(
            "must be a string, a list of strings, a list of token ids or a list of such lists"
        )
    if _is_tokens(value):
        return [value]
    if len(value) > most:
        raise _problem(f"has {len(value)} items; at most {most} are allowed")
    if all(isinstance(item, str) for item in value):
        return [_check_text(item) for item in value]
    if all(_is_tokens(item) and item for item in value):
        return list(value)
    raise _problem("must hold strings only, or token ids only, or lists of token ids only")


def _content(value: object) -> str:
    """A message's text, from a string or from a list of text parts."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _check_text(value)
    if not isinstance(value, list):
        raise _problem("must be a string or a list of text parts")
    texts = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise _problem(f"parts of type {kind!r} are not supported; only 'text' is")
        text = part.get("text")
        if set(part) != {"type", "text"} or not isinstance(text, str):
            raise _problem('a text part must be {"type": "text", "text": "…"}')
        texts.append(_check_text(text))
    return "".join(texts)


def _message_fields(value: object) -> object:
    if not isinstance(value, dict):
        return value
    fields = without_unsupported(value, UNSUPPORTED_IN_MESSAGE)
    if fields.get("tool_calls"):
        fields.setdefault("content", None)
    return fields


class StreamOptions(Strict):
    """`stream_options`."""

    include_usage: bool = False
    include_obfuscation: bool = False


class GenerationRequest(Strict):
    """What both endpoints take."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = UNSUPPORTED

    model: str
    max_tokens: int | None = Field(default=None, ge=1, le=limits.MAX_TOKENS)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=2**31 - 1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repeat_penalty: float | None = Field(default=None, ge=0.01, le=100)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    response_format: dict[str, Any] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stop: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_STOP_LENGTH)],],
        Field(max_length=limits.MAX_STOPS),
        BeforeValidator(_as_list),
    ] = Field(default_factory=list)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def most_tokens(self) -> int:
        """How many tokens may be generated; a full context ends it, too."""
        raise NotImplementedError

    @property
    def alternatives(self) -> int | None:
        """Of how many likeliest tokens log probabilities are asked for; None for none at all."""
        raise NotImplementedError


class CompletionRequest(GenerationRequest):
    """`POST /v1/completions`."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **UNSUPPORTED,
        **UNSUPPORTED_IN_COMPLETION,
    }

    prompt: Annotated[list[Prompt], PlainValidator(_prompts)]
    echo: bool | None = None
    logprobs: Annotated[
        int | None, Field(ge=0, le=limits.MAX_LOGPROBS), BeforeValidator(_none_for_false)
    ] = None

    @property
    def most_tokens(self) -> int:
        """As `max_tokens` says."""
        return self.max_tokens or DEFAULT_MAX_TOKENS

    @property
    def alternatives(self) -> int | None:
        """As `logprobs` says."""
        return self.logprobs


class Message(Strict):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str, PlainValidator(_content)]
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class ChatRequest(GenerationRequest):
    """`POST /v1/chat/completions`."""

    messages: list[Annotated[Message, BeforeValidator(_message_fields)]] = Field(
        min_length=1, max_length=limits.MAX_MESSAGES
    )
    max_completion_tokens: int | None = Field(default=None, ge=1, le=limits.MAX_TOKENS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=limits.MAX_LOGPROBS)
    tools: list[Tool] | None = Field(default=None, max_length=limits.MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None

    @property
    def chosen_tool(self) -> str | None:
        """The function that has to be called."""
        return self.tool_choice.function.name if isinstance(self.tool_choice, ChosenTool) else None

    @property
    def callable_tools(self) -> list[Tool]:
        """The tools that the answer may call."""
        if not self.tools or self.tool_choice == "none":
            return []
        name = self.chosen_tool
        return [tool for tool in self.tools if name in (None, tool.function.name)]

    @property
    def most_tokens(self) -> int:
        """As `max_completion_tokens` or its older name says."""
        return self.max_completion_tokens or self.max_tokens or limits.MAX_TOKENS

    @property
    def alternatives(self) -> int | None:
        """As `logprobs` and `top_logprobs` say together."""
        return (self.top_logprobs or 0) if self.logprobs else None


class EmbeddingRequest(Strict):
    """`POST /v1/embeddings`. `prompt_name` and `truncate` are not OpenAI's."""

    model: str
    input: Annotated[list[Prompt], PlainValidator(_inputs)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(default=None, ge=1, le=2**20)
    prompt_name: str | None = None
    truncate: bool | None = None


class RerankRequest(Strict):
    """`POST /v1/rerank`, as Jina's and Cohere's."""

    model: str
    query: str
    documents: list[str] = Field(min_length=1, max_length=limits.MAX_INPUTS)
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool | None = None
    truncate: bool | None = None


Request = TypeVar("Request", bound=Strict)


def parse(kind: type[Request], body: Mapping[str, Any]) -> Request:
    """Check a request's body; raises `ApiError` 400 naming the first parameter that is wrong."""
    known = without_unsupported(body, kind.unsupported)
    known = {name: value for name, value in known.items() if name not in IGNORED}
    try:
        request = kind.model_validate(known)
    except ValidationError as error:
        raise _first_problem(error) from None
    if (
        isinstance(request, GenerationRequest)
        and request.stream_options is not None
        and not request.stream
    ):
        raise ApiError(
            400, "'stream_options' is for streams: send 'stream': true", param="stream_options"
        )
    if isinstance(request, ChatRequest):
        _check_chat(request)
    return request


def _check_chat(request: ChatRequest) -> None:
    """What the fields of a chat say together."""
    if request.top_logprobs and not request.logprobs:
        raise ApiError(
            400, "'top_logprobs' needs 'logprobs': send 'logprobs': true", param="top_logprobs"
        )
    for index, message in enumerate(request.messages):
        if message.role == "tool" and message.tool_call_id is None:
            name = f"messages[{index}].tool_call_id"
            raise ApiError(
                400, f"missing parameter: {name!r}", param=name, code="missing_required_parameter"
            )
    names = [tool.function.name for tool in request.tools or ()]
    if len(set(names)) != len(names):
        raise ApiError(400, "'tools': two functions have the same name", param="tools")
    if request.tool_choice not in (None, "none", "auto") and not request.callable_tools:
        raise ApiError(
            400, "'tool_choice': there is no such function in 'tools'", param="tool_choice"
        )
    held = request.response_format not in (None, {"type": "text"})
    if held and request.callable_tools:
        raise ApiError(
            400,
            "'response_format' beside 'tools' is not supported: send 'tool_choice': 'none', or "
            "leave one of them out",
            param="response_format",
        )


def _first_problem(error: ValidationError) -> ApiError:
    detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = ""
    for part in detail["loc"]:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    if detail["type"] == "extra_forbidden":
        return ApiError(400, f"unknown parameter: {name!r}", param=name, code="unknown_parameter")
    if detail["type"] == "missing":
        return ApiError(
            400, f"missing parameter: {name!r}", param=name, code="missing_required_parameter"
        )
    message = detail["msg"]
    return ApiError(
        400, f"{name!r}: {message[:1].lower()}{message[1:]}", param=name, code="invalid_value"
    )
