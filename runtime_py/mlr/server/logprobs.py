"""Log probabilities in OpenAI's shapes: one for chats, another for completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlr.generation import Token
    from mlr.tokenizer import Tokenizer

__all__ = ["chat_logprobs", "completion_logprobs"]


def chat_logprobs(tokenizer: Tokenizer, tokens: Sequence[Token]) -> dict[str, Any] | None:
    """The `logprobs` of a chat's choice; None without any."""
    content = [
        {
            **_entry(tokenizer, token.id, token.logprob),
            "top_logprobs": [_entry(tokenizer, id, value) for id, value in token.top_logprobs],
        }
        for token in tokens
        if token.logprob is not None
    ]
    return {"content": content, "refusal": None} if content else None


def _entry(tokenizer: Tokenizer, token: int, logprob: float) -> dict[str, Any]:
    data = tokenizer.token_bytes(token)
    return {"token": _text(data), "logprob": _number(logprob), "bytes": list(data)}


def completion_logprobs(
    tokenizer: Tokenizer, tokens: Sequence[Token], offset: int
) -> dict[str, Any] | None:
    """The `logprobs` of a completion's choice, whose text before has `offset` characters.

    Alternatives are a mapping by text there, so that of two tokens with one text the likelier is
    in it.
    """
    texts: list[str] = []
    logprobs: list[float] = []
    tops: list[dict[str, float]] = []
    offsets: list[int] = []
    for token in tokens:
        if token.logprob is not None:
            texts.append(_text(tokenizer.token_bytes(token.id)))
            logprobs.append(_number(token.logprob))
            offsets.append(offset)
            top: dict[str, float] = {}
            for id, value in token.top_logprobs:
                top.setdefault(_text(tokenizer.token_bytes(id)), _number(value))
            tops.append(top)
        offset += len(token.text)
    if not texts:
        return None
    return {
        "tokens": texts,
        "token_logprobs": logprobs,
        "top_logprobs": tops,
        "text_offset": offsets,
    }


def _text(data: bytes) -> str:
    """A token's bytes as text; those that are no whole characters as OpenAI spells them."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _number(logprob: float) -> float:
    """JSON has no infinity; OpenAI's own stand-in is -9999."""
    return max(logprob, -9999.0)
