"""Prompts as the model takes them: tokens that it knows and that fit its context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlr.server import limits
from mlr.server.errors import ApiError
from mlr.server.generation import PreparedPrompt
from mlr.server.schema import Prompt

if TYPE_CHECKING:
    from mlr.model import Model

__all__ = ["prepare"]


def prepare(
    model: Model,
    prompt: Prompt,
    *,
    param: str,
    add_special: bool = True,
    echo: bool = False,
) -> PreparedPrompt:
    """Tokenize and check one prompt.

    Raises `ApiError` 400, naming `param`, when it is empty, too long or not of this vocabulary.
    """
    context = model.info.context_length
    if isinstance(prompt, str):
        if len(prompt) > context * limits.MAX_CHARACTERS_PER_TOKEN:
            raise _too_long(param, f"{len(prompt)} characters", context)
        tokens = model.tokenize(prompt, add_special=add_special)
    else:
        tokens = prompt
        size = model.info.vocabulary_size
        for token in tokens:
            if not 0 <= token < size:
                raise ApiError(
                    400,
                    f"{param!r}: {token} is not a token of this model, which has {size}",
                    param=param,
                    code="invalid_value",
                )
    if not tokens:
        raise ApiError(400, f"{param!r} is empty", param=param, code="invalid_value")
    if len(tokens) > context:
        raise _too_long(param, f"{len(tokens)} tokens", context)
    text = ""
    if echo:
        text = prompt if isinstance(prompt, str) else model.detokenize(tokens)
    return PreparedPrompt(tokens, text)


def _too_long(param: str, length: str, context: int) -> ApiError:
    return ApiError(
        400,
        f"{param!r} has {length}; this model's context is {context} tokens: "
        "shorten it, or serve the model with a larger --context-length",
        param=param,
        code="context_length_exceeded",
    )
