"""The forms in which models write calls of functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["FORMS", "TAGS", "CallForm"]


@dataclass(frozen=True, slots=True)
class CallForm:
    """How calls are written.

    `before` comes before calls, and `after` after them. `layout`: "each" call stands between the
    two by itself, as `{"name": …, "arguments": …}`; in a "list" they stand in brackets; "named" is
    `before` and the name before each call's arguments. `key` is what the arguments are called.
    """

    before: str = ""
    after: str = ""
    layout: Literal["each", "list", "named"] = "each"
    key: str = "arguments"

    @property
    def bare(self) -> bool:
        """Whether one call, without anything else, is the whole answer."""
        return self.layout == "each" and not self.after


FORMS: Mapping[str, CallForm] = {
    "plain": CallForm(),
    "hermes": CallForm("<tool_call>", "</tool_call>"),
    # The tag stands before a call or does not.
    "llama": CallForm("<|python_tag|>", key="parameters"),
    "mistral-list": CallForm("[TOOL_CALLS]", layout="list"),
    "mistral-named": CallForm("[TOOL_CALLS]", layout="named"),
    "phi": CallForm("<|tool_call|>", "<|/tool_call|>", layout="list"),
    "granite": CallForm("<|tool_call|>", layout="list"),
}
"""By the family whose form it is. The first character of `before` and of `after` does not come
again in them."""

TAGS = frozenset(
    {tag for form in FORMS.values() for tag in (form.before, form.after) if tag}
    | {"[CALL_ID]", "[ARGS]"}
)
"""All that is no part of a call's own text; many vocabularies have tokens for them."""
