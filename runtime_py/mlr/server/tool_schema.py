"""Tools and calls of them, as a chat request may hold them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import StringConstraints

from mlr.server.parameters import Strict

__all__ = ["ChosenTool", "Tool", "ToolCall"]

FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class CalledFunction(Strict):
    """The function of a call that a model has made."""

    name: FunctionName
    arguments: str

    def parsed(self) -> Any:
        """The arguments; as text where they are not JSON."""
        try:
            return json.loads(self.arguments)
        except (ValueError, RecursionError):
            return self.arguments


class ToolCall(Strict):
    """A call that a model has made, as it is sent back."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class Function(Strict):
    """A function that a model may call."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """One of `tools`."""

    type: Literal["function"]
    function: Function


class ChosenName(Strict):
    """A function by its name."""

    name: FunctionName


class ChosenTool(Strict):
    """A tool that the model has to use."""

    type: Literal["function"]
    function: ChosenName
