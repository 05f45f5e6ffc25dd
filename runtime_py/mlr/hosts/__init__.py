"""Hosts: `current()` is the one that this process runs in."""

from __future__ import annotations

import sys
from functools import lru_cache

from mlr.hosts.base import Host, LoadProgress, ProgressCallback

__all__ = ["Host", "LoadProgress", "ProgressCallback", "current"]


@lru_cache(maxsize=1)
def current() -> Host:
    """The host of this process, made on the first call."""
    if sys.platform == "emscripten":
        from mlr.hosts.pyodide import PyodideHost

        return PyodideHost()
    from mlr.hosts.cpython import CPythonHost

    return CPythonHost()
