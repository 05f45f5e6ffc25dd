"""The reference engine: a decoder in NumPy, written to be read and to hold others to account.

It computes on dequantized weights, in float32 or float64, and is not fast. Importing this
package raises `MissingDependencyError` when NumPy is not installed.
"""

from __future__ import annotations

from mlr.errors import MissingDependencyError

try:
    import numpy as _numpy  # noqa: F401  (so that the message below names the extra)
except ModuleNotFoundError as error:
    raise MissingDependencyError("numpy", "reference", "the reference engine") from error

from mlr.engines.reference.engine import ReferenceEngine
from mlr.engines.reference.opening import open_engine

__all__ = ["ReferenceEngine", "open_engine"]
