"""Typed access to what a GGUF file says about its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.errors import FormatError, UnsupportedModelError

__all__ = ["Header"]

# Keys that say nothing about the computation, or repeat what other keys and tensors say.
IGNORED = frozenset(
    {
        "attention.layer_norm_epsilon",
        "attention.layer_norm_rms_epsilon",
        "classifier.output_labels",
        "feed_forward_length_max",
        "rope.scaling.finetuned",
        "tensor_data_layout",
        "use_parallel_residual",
        "vocab_size",
    }
)
NEUTRAL = (0, 0.0, False, "", "none")


class Header:
    """The `{architecture}.*` keys of GGUF metadata, and the shapes of the tensors by name.

    It remembers which keys were asked for, so that the others can be refused.
    """

    def __init__(
        self, metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], file: str
    ) -> None:
        """Raise `FormatError` when the file does not name its architecture."""
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str):
            raise FormatError(file, "general.architecture", 0, "is missing or not a string")
        self.architecture, self.shapes, self.file = architecture, shapes, file
        self._prefix = architecture + "."
        self._metadata = metadata
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return self._prefix + key in self._metadata

    def integer(self, key: str, default: int | None = None) -> int:
        """An integer. A list of one value for each layer counts when all are the same."""
        return int(self._get(key, default, (int,)))

    def number(self, key: str, default: float | None = None) -> float:
        """An integer or a float."""
        return float(self._get(key, default, (int, float)))

    def string(self, key: str, default: str | None = None) -> str:
        """A string."""
        return str(self._get(key, default, (str,)))

    def flag(self, key: str, default: bool) -> bool:
        """A boolean."""
        return bool(self._get(key, default, (bool,)))

    def flags(self, key: str) -> list[bool] | None:
        """A list of booleans, if that is what the key has."""
        value = self._metadata.get(self._prefix + key)
        if not isinstance(value, list) or not all(isinstance(item, bool) for item in value):
            return None
        self._asked.add(self._prefix + key)
        return value

    def unsupported(self, key: str, problem: str) -> UnsupportedModelError:
        """An exception about a key, to be raised."""
        return UnsupportedModelError(f"{self.file}: {self._prefix}{key} {problem}")

    def broken(self, key: str, problem: str) -> FormatError:
        """An exception about a key, to be raised."""
        return FormatError(self.file, self._prefix + key, 0, problem)

    def refuse_the_rest(self) -> None:
        """Raise `UnsupportedModelError` for a key that was not asked for and may matter."""
        for full, value in self._metadata.items():
            key = full.removeprefix(self._prefix)
            if key == full or full in self._asked or key in IGNORED or value in NEUTRAL:
                continue
            raise self.unsupported(
                key,
                f"is {value!r:.60}: what it means for the computation is not known here, and "
                "leaving it out could give wrong text, so this model is not supported",
            )

    def _get(self, key: str, default: Any, kinds: tuple[type, ...]) -> Any:
        full = self._prefix + key
        self._asked.add(full)
        value = self._metadata.get(full, default)
        if value is None:
            raise self.broken(key, "is missing")
        if isinstance(value, list) and value and value.count(value[0]) == len(value):
            value = value[0]
        elif isinstance(value, list):
            raise self.unsupported(key, "differs between layers, which is not supported")
        if isinstance(value, bool) != (kinds == (bool,)) or not isinstance(value, kinds):
            raise self.broken(key, f"has an unexpected type: {value!r:.60}")
        return value
