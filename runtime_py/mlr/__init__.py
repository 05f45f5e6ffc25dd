"""mlr: load a bundle and generate, in CPython and in Pyodide.

    model = await mlr.load("bundles/gemma-3-270m")
    completion = await model.generate("The capital of France is")

Importing this package imports nothing outside the standard library, and little of that: names
are resolved when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlr.blocking import SyncModel, load_sync
    from mlr.embedding import Embeddings, Ranked, Ranking
    from mlr.engines.base import MemoryReport, Sampling
    from mlr.errors import MlrError
    from mlr.generation import Completion, Timings, Token, TokenStream
    from mlr.hosts.base import LoadProgress
    from mlr.model import Event, Loaded, Model, ModelInfo, Unloaded, load

__version__ = "0.1.0"

__all__ = [
    "Completion",
    "Embeddings",
    "Event",
    "LoadProgress",
    "Loaded",
    "MemoryReport",
    "MlrError",
    "Model",
    "ModelInfo",
    "Ranked",
    "Ranking",
    "Sampling",
    "SyncModel",
    "Timings",
    "Token",
    "TokenStream",
    "Unloaded",
    "__version__",
    "load",
    "load_sync",
]

_HOMES = {
    "Completion": "mlr.generation",
    "Embeddings": "mlr.embedding",
    "Event": "mlr.model",
    "LoadProgress": "mlr.hosts.base",
    "Loaded": "mlr.model",
    "MemoryReport": "mlr.engines.base",
    "MlrError": "mlr.errors",
    "Model": "mlr.model",
    "ModelInfo": "mlr.model",
    "Ranked": "mlr.embedding",
    "Ranking": "mlr.embedding",
    "Sampling": "mlr.engines.base",
    "SyncModel": "mlr.blocking",
    "Timings": "mlr.generation",
    "Token": "mlr.generation",
    "TokenStream": "mlr.generation",
    "Unloaded": "mlr.model",
    "load": "mlr.model",
    "load_sync": "mlr.blocking",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mlr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
