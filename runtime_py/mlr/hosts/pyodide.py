"""Pyodide: no threads in Python; fetching, storing and the kernel are JavaScript's.

The page's worker registers the JavaScript object `PythonHost` (`web/src/engine/host.ts`) as the
module `mlr_host` before a model is loaded. Weights never pass through Python.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from mlr import errors
from mlr.engines.base import MemoryReport
from mlr.engines.kernel.abi import error_for
from mlr.engines.kernel.instance import KernelInstance, KernelOptions, KernelPlan
from mlr.hosts.base import MAX_DEFAULT_THREADS, LoadProgress, ProgressCallback
from mlr.hosts.turns import Turns

if TYPE_CHECKING:
    from mlr.bundle.cache import DiskCache
    from mlr.bundle.manifest import Variant
    from mlr.bundle.reader import Bundle

__all__ = ["BrowserKernel", "PyodideHost"]

T = TypeVar("T")

SINGLE_THREAD_REASON = (
    "This page is not cross-origin isolated, so the model runs on one thread. Serve the page with "
    "the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: "
    "require-corp to use all cores."
)


class PyodideHost:
    """The host of a worker in a browser."""

    name = "pyodide"

    def __init__(self) -> None:
        self._javascript: Any = import_module("mlr_host")
        self.memory64 = bool(self._javascript.memory64)
        Turns(asyncio.get_running_loop())

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Make the call directly, after what else is due."""
        await asyncio.sleep(0)
        return function(*arguments)

    async def read_url(self, url: str, limit: int) -> bytes:
        """The body of an http(s) URL of at most `limit` bytes. Raises `FetchError`."""
        body = await _awaited(self._javascript.readUrl(url, limit))
        content: bytes = body.to_bytes()
        self._javascript.release(body)
        return content

    def disk_cache(self) -> DiskCache | None:
        """None: shards are kept by the browser's side."""
        return None

    def default_threads(self) -> int:
        """The cores that the browser tells of, at most 8."""
        return max(1, min(int(self._javascript.cores), MAX_DEFAULT_THREADS))

    def thread_limit_reason(self) -> str | None:
        """A sentence for the user when the page is not cross-origin isolated."""
        return None if self._javascript.isolated else SINGLE_THREAD_REASON

    def give_memory_back(self) -> None:
        """Nothing: a WebAssembly memory does not shrink."""

    def memory_available(self) -> int | None:
        """All of the device's memory, which no model can go beyond; None where not told."""
        return int(self._javascript.deviceMemory * 2**30) or None

    async def plan_kernel(self, descriptor: bytes, options: KernelOptions) -> KernelPlan:
        """Ask the kernel how much memory a model takes. Raises `LoadError`."""
        from pyodide.ffi import to_js

        planned = await _awaited(self._javascript.plan(to_js(descriptor), *_numbers(options)))
        total, weights, cache, scratch = (int(size) for size in planned.to_py())
        return KernelPlan(descriptor, options, total, MemoryReport(weights, cache, scratch))

    async def open_kernel(
        self,
        bundle: Bundle,
        variant: Variant,
        plan: KernelPlan,
        on_progress: ProgressCallback | None,
    ) -> KernelInstance:
        """Have JavaScript stream the variant's weights into a kernel and start its threads."""
        from pyodide.ffi import create_proxy, to_js

        def report(stage: str, done: float, total: float) -> None:
            if on_progress is not None:
                on_progress(LoadProgress(stage, int(done), int(total)))

        proxy = create_proxy(report)
        try:
            kernel = await _awaited(
                self._javascript.open(
                    json.dumps(_specification(bundle, variant)),
                    to_js(plan.descriptor),
                    *_numbers(plan.options),
                    plan.total_bytes,
                    proxy,
                )
            )
        finally:
            proxy.destroy()
        return BrowserKernel(kernel)


class BrowserKernel:
    """The kernel in this worker, with further threads in workers of their own."""

    def __init__(self, kernel: Any) -> None:
        from pyodide.ffi import JsException, to_js

        self._kernel: Any = kernel
        self._call = kernel.call
        self._failure: type[Exception] = JsException
        self._to_js = to_js
        self.detail = str(kernel.detail)

    def call(self, name: str, *arguments: float) -> float:
        """Call an export of instance 0."""
        try:
            result: float = self._call(name, *arguments)
        except self._failure as error:
            raise _translated(error) from None
        return result

    def write(self, address: int, data: bytes) -> None:
        """Copy bytes into memory."""
        try:
            self._kernel.write(address, self._to_js(data))
        except self._failure as error:
            raise _translated(error) from None

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out of memory."""
        try:
            copy = self._kernel.read(address, size)
        except self._failure as error:
            raise _translated(error) from None
        content: bytes = copy.to_bytes()
        return content

    def close(self) -> None:
        """End the threads; the memory goes with the last reference."""
        self._kernel.close()


def _numbers(options: KernelOptions) -> tuple[int, int, int, int]:
    """The options in the order in which `mlr_open` takes them."""
    return options.context_length, options.threads, options.sequences, options.flags


def _specification(bundle: Bundle, variant: Variant) -> dict[str, Any]:
    """What `web/src/shards/variant.ts` describes."""
    return {
        "name": bundle.manifest.name,
        "location": bundle.location,
        "size": variant.size,
        "chunkSize": variant.chunk_size,
        "start": min(tensor.offset for tensor in variant.tensors),
        "shards": [
            {
                "url": bundle.place(shard.file),
                "size": shard.size,
                "sha256": shard.sha256,
                "chunks": shard.chunks,
            }
            for shard in variant.shards
        ],
    }


async def _awaited(promise: Any) -> Any:
    from pyodide.ffi import JsException

    try:
        return await promise
    except JsException as error:
        raise _translated(error) from None


def _translated(error: Any) -> errors.MlrError:
    """The JavaScript side names its errors after our classes."""
    name = str(error.name)
    if name == "KernelError":
        return error_for(int(error.code), str(error.asked))
    if name in errors.__all__:
        kind: type[errors.MlrError] = getattr(errors, name)
        return kind(str(error.message))
    return errors.EngineError(f"{name}: {error.message}; load the model again")
