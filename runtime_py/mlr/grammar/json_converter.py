"""What the makers of objects and arrays need of whoever converts a schema."""

from __future__ import annotations

from typing import Any, Protocol

from mlr.grammar.expressions import Expression, Reference

__all__ = ["Converter"]


class Converter(Protocol):
    """What makes rules of schemas."""

    document: Any
    rules: dict[str, Expression]

    def value(self, schema: Any, where: str) -> Expression:
        """The values that a schema allows."""

    def name(self, kind: str) -> str:
        """A name for a new rule."""

    def rule(self, kind: str, expression: Expression) -> Reference:
        """A new rule."""
