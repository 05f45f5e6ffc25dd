"""Chat templates: messages to the text that a model was trained on.

Templates come from the network and are programs (Jinja). They run in Jinja2's immutable sandbox
with a fixed set of variables and functions, and under limits: so many steps, so much text, so
much time (see `mlr.tokenizer.chat_sandbox`). A template that goes over one ends with a
TemplateError, as does one that reaches for anything it was not given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from mlr.errors import MissingDependencyError, RequestError, TemplateError

__all__ = ["MAX_TEMPLATE", "PLAIN", "render"]

MAX_TEMPLATE = 128 << 10
"""Characters in a template; the longest published ones have about 20,000."""

PLAIN = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""For models without a template: a transcript, one line a message."""


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    bos_token: str,
    eos_token: str,
    add_generation_prompt: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
    now: Callable[[], datetime] = datetime.now,
) -> str:
    """The text of `messages` under `template`.

    `messages` are objects with "role" and "content", and what else the template reads (such as
    "tool_calls"); `tools` are JSON schemas of functions. `now` is the clock that the template
    may print the date of. RequestError when messages or tools are not JSON; TemplateError when
    the template is wrong, refuses the messages, or goes over a limit; MissingDependencyError
    without Jinja2.
    """
    if len(template) > MAX_TEMPLATE:
        raise TemplateError(
            f"the chat template has {len(template)} characters, more than the limit {MAX_TEMPLATE}"
        )
    try:
        from mlr.tokenizer.chat_sandbox import run
    except ImportError:
        raise MissingDependencyError("jinja2", "chat", "Rendering a chat template") from None

    def strftime_now(form: str) -> str:
        return now().strftime(str(form)[:256])

    variables = {
        "messages": _plain(list(messages), "messages"),
        "tools": None if tools is None else _plain(list(tools), "tools"),
        "bos_token": bos_token,
        "eos_token": eos_token,
        "add_generation_prompt": add_generation_prompt,
        "strftime_now": strftime_now,
    }
    return run(template, variables)


def _plain(value: Any, name: str) -> Any:
    """A copy in JSON's types, so that a template meets no other objects."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"{name} must be JSON: {error}") from None
