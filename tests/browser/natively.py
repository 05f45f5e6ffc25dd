"""What a model says in CPython, for comparison."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import mlr

__all__ = ["natively"]

T = TypeVar("T")


def natively(bundle: Path, use: Callable[[mlr.SyncModel], T], **options: Any) -> T:
    """Load a bundle under wasmtime and use it.

    In a thread of its own, because Playwright's event loop is running in this one.
    """

    def run() -> T:
        with mlr.load_sync(bundle, **options) as model:
            return use(model)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()
