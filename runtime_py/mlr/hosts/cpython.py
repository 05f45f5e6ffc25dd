"""CPython: threads, the file system, and the kernel under wasmtime."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlr.hosts.base import MAX_DEFAULT_THREADS, ProgressCallback

if TYPE_CHECKING:
    from mlr.bundle.cache import DiskCache
    from mlr.bundle.manifest import Variant
    from mlr.bundle.reader import Bundle
    from mlr.engines.kernel.instance import KernelInstance, KernelOptions, KernelPlan

__all__ = ["CPythonHost"]

T = TypeVar("T")


class CPythonHost:
    """The host of an ordinary Python process."""

    name = "cpython"
    memory64 = True

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking call in a thread.

        When the caller is cancelled, this still returns only once the call has ended: whatever
        the call uses (an engine, a file) is the next one's to use as soon as this returns.
        """
        call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            while not call.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({call})
            if not call.cancelled():
                call.exception()  # nobody is left to hear of it
            raise

    async def read_url(self, url: str, limit: int) -> bytes:
        """The body of an http(s) URL of at most `limit` bytes. Raises `FetchError`."""
        from mlr.bundle.http import read_small

        return await self.run(read_small, url, limit)

    def disk_cache(self) -> DiskCache:
        """The user's cache on disk."""
        from mlr.bundle.cache import DiskCache

        return DiskCache()

    def default_threads(self) -> int:
        """The cores that this process may use, at most 8."""
        if hasattr(os, "sched_getaffinity"):
            cores = len(os.sched_getaffinity(0))
        else:
            cores = os.cpu_count() or 1
        return max(1, min(cores, MAX_DEFAULT_THREADS))

    def thread_limit_reason(self) -> str | None:
        """Always None: wasmtime threads are always there."""
        return None

    def memory_available(self) -> int | None:
        """MemAvailable on Linux, less where a control group allows less; elsewhere None."""
        if sys.platform != "linux":
            return None
        available = _meminfo_available()
        limit, used = _cgroup_number("memory.max"), _cgroup_number("memory.current")
        if limit is not None and used is not None:
            left = max(limit - used, 0)
            available = left if available is None else min(available, left)
        return available

    def give_memory_back(self) -> None:
        """Trim the heap of glibc, which after large blocks were freed keeps as much for others."""
        if sys.platform == "linux":
            import ctypes

            with contextlib.suppress(AttributeError):  # another C library
                ctypes.CDLL(None).malloc_trim(0)

    async def plan_kernel(self, descriptor: bytes, options: KernelOptions) -> KernelPlan:
        """Ask the kernel how much memory a model takes."""
        from mlr.engines.kernel.wasmtime import plan

        return await self.run(plan, descriptor, options)

    async def open_kernel(
        self,
        bundle: Bundle,
        variant: Variant,
        plan: KernelPlan,
        on_progress: ProgressCallback | None,
    ) -> KernelInstance:
        """Stream the variant's weights into a kernel under wasmtime."""
        from mlr.engines.kernel.wasmtime import open_kernel

        return await open_kernel(bundle, variant, plan, on_progress, self)


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_number(name: str) -> int | None:
    try:
        text = (Path("/sys/fs/cgroup") / name).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
