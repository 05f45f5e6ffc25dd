"""Parameters of OpenAI's interface that mlr does not have.

They are accepted with the value that means "off", since clients send those, and are refused by
name otherwise: nothing that would change the answer is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from mlr.server.errors import ApiError

__all__ = [
    "IGNORED",
    "UNSUPPORTED",
    "UNSUPPORTED_IN_COMPLETION",
    "UNSUPPORTED_IN_MESSAGE",
    "Strict",
    "without_unsupported",
]

# Sent by clients for bookkeeping at OpenAI; they do not change an answer.
IGNORED = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)

# Not supported: parameter → the values (besides null) that ask for nothing.
UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "best_of": (1,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "prediction": (),
    "reasoning_effort": ("none",),
    "suffix": ("",),
    "verbosity": (),
    "web_search_options": (),
}

# The same, for completions only: these belong to chats.
UNSUPPORTED_IN_COMPLETION: Mapping[str, tuple[object, ...]] = {
    "parallel_tool_calls": (True, False),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
}

# The same for the fields of a message: clients send answers back as they got them.
UNSUPPORTED_IN_MESSAGE: Mapping[str, tuple[object, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "refusal": (),
}


class Strict(BaseModel):
    """Fields by the names and the types that are there, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {}


def without_unsupported(
    value: Mapping[str, Any], unsupported: Mapping[str, tuple[object, ...]]
) -> dict[str, Any]:
    """`value` less the unsupported fields; raises `ApiError` for one that asks for something."""
    kept = {}
    for name, item in value.items():
        if name not in unsupported:
            kept[name] = item
        elif item is not None and not any(_same(item, off) for off in unsupported[name]):
            hint = "".join(f" or send {json.dumps(off)}" for off in unsupported[name][:1])
            raise ApiError(
                400,
                f"{name!r} is not supported here: leave it out{hint}",
                param=name,
                code="unsupported_parameter",
            )
    return kept


def _same(value: object, other: object) -> bool:
    """Equality that keeps false apart from 0 and true from 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)
