"""Tensors' numbers as the types that GGUF has: all that needs NumPy."""

from __future__ import annotations

from mlr.errors import MissingDependencyError

try:
    import numpy  # noqa: F401 - what is in this folder is of no use without it
except ModuleNotFoundError as error:
    raise MissingDependencyError("numpy", "reference", "converting safetensors") from error
