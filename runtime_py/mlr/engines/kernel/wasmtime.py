"""The kernel under wasmtime: one store and instance per thread on one shared memory."""

from __future__ import annotations

import atexit
import ctypes
import threading
import weakref
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlr.engines.base import MemoryReport
from mlr.engines.kernel.abi import ABI_VERSION, MAX_MEMORY, PAGE, error_for
from mlr.engines.kernel.instance import KernelOptions, KernelPlan
from mlr.errors import CapacityError, EngineError, LoadError, MissingDependencyError
from mlr.hosts.base import Host, LoadProgress, ProgressCallback

if TYPE_CHECKING:
    from mlr.bundle.manifest import Variant
    from mlr.bundle.reader import Bundle

__all__ = ["BUILDS", "WIDE", "WasmtimeKernel", "open_kernel", "plan"]

BUILDS = ("narrow", "relaxed", "simd")  # in order of preference
WIDE = "relaxed64"  # for more memory than 32 bits address; a little slower
PLANNER_PAGES = 64  # enough for any descriptor and the tables made of it
JOIN_SECONDS = 10.0


def _wasmtime() -> Any:
    try:
        import wasmtime
    except ImportError:
        raise MissingDependencyError(
            "wasmtime", "all", "the kernel engine outside a browser"
        ) from None
    return wasmtime


def _as_extern(memory: Any) -> Any:
    # wasmtime-py 50.0.1 passes a pointer to the handle where the C API wants the handle itself,
    # so that a SharedMemory cannot be imported without this.
    import wasmtime._ffi as ffi

    union = ffi.wasmtime_extern_union(sharedmemory=memory.ptr())
    return ffi.wasmtime_extern_t(ffi.WASMTIME_EXTERN_SHAREDMEMORY, union)


@lru_cache(maxsize=len(BUILDS) + 1)
def _compiled(build: str) -> tuple[Any, Any]:
    """Engine and module of a build, compiled once per process."""
    wasmtime = _wasmtime()
    wasmtime.SharedMemory._as_extern = _as_extern
    config = wasmtime.Config()
    config.wasm_threads = True
    config.shared_memory = True
    config.wasm_relaxed_simd = True
    if build == WIDE:
        config.wasm_memory64 = True
        # with the usual reservation of 4 GiB no address beyond it would work
        config.memory_reservation = 0
    with suppress(wasmtime.WasmtimeError):  # where nothing can be stored: compile each time
        config.cache = True  # wasmtime's own, in the user's cache folder
    path = Path(__file__).with_name(f"kernel-{build}.wasm")
    if not path.is_file():
        raise LoadError(
            f"{path} is missing: the kernel is compiled when mlr is installed; "
            "run `python hatch_build.py` in a source tree"
        )
    engine = wasmtime.Engine(config)
    # a cache that outlives wasmtime's own clean-up would complain at the end of the process
    atexit.register(_compiled.cache_clear)
    return engine, wasmtime.Module(engine, path.read_bytes())


class WasmtimeKernel:
    """A kernel's memory with instance 0 on it, and worker threads once they are started."""

    def __init__(self, pages: int, build: str = BUILDS[0]) -> None:
        wasmtime = _wasmtime()
        self._engine, self._module = _compiled(build)
        limits = wasmtime.Limits(pages, pages)
        try:
            self._memory: Any = wasmtime.SharedMemory(
                self._engine, wasmtime.MemoryType(limits, build == WIDE, shared=True)
            )
        except wasmtime.WasmtimeError as error:
            raise CapacityError(
                f"{pages * PAGE:,} bytes of memory could not be reserved: {error}"
            ) from None
        self._base = ctypes.addressof(self._memory.data_ptr().contents)
        self._size = pages * PAGE
        self._build = build
        self._workers: list[threading.Thread] = []
        self._dropped: weakref.finalize[..., WasmtimeKernel] | None = None
        self._store, self._exports = self._instantiate()
        self._functions: dict[str, Any] = {}
        self._lock = threading.Lock()
        if self.call("mlr_abi") != ABI_VERSION:
            raise LoadError("the kernel and the Python code are of different versions: reinstall")
        self._staging = int(self.call("mlr_staging"))
        self._staging_size = int(self.call("mlr_staging_size"))

    def _instantiate(self) -> tuple[Any, Any]:
        wasmtime = _wasmtime()
        store = wasmtime.Store(self._engine)
        return store, wasmtime.Instance(store, self._module, [self._memory]).exports(store)

    @property
    def detail(self) -> str:
        """One line on how it runs here."""
        threads = len(self._workers) + 1
        simd = "SIMD" if self._build == "simd" else "relaxed SIMD"
        wide = ", 64-bit addresses" if self._build == WIDE else ""
        return f"{simd}{wide}, {threads} thread{'s' if threads > 1 else ''}, wasmtime"

    def call(self, name: str, *arguments: float) -> float:
        """Call an export of instance 0."""
        if self._memory is None:
            raise EngineError(f"{name}: the model is closed; load it again")
        wasmtime = _wasmtime()
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._exports[name]
        with self._lock:
            try:
                result = function(self._store, *arguments)
            except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
                # the others would wait for this thread for ever
                self._exports["mlr_abort"](self._store)
                raise EngineError(f"{name} failed in the kernel: {_first_line(error)}") from None
        return 0 if result is None else result

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Copy bytes into memory."""
        size = len(data)
        self._check(address, size)
        if isinstance(data, memoryview) and data.readonly:
            data = bytes(data)
        source = data if isinstance(data, bytes) else (ctypes.c_char * size).from_buffer(data)
        ctypes.memmove(self._base + address, source, size)

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out of memory."""
        self._check(address, size)
        return ctypes.string_at(self._base + address, size)

    def _check(self, address: int, size: int) -> None:
        if self._memory is None:
            raise EngineError("the model is closed; load it again")
        if address < 0 or size < 0 or address + size > self._size:
            raise EngineError(f"{size} bytes at {address} lie outside the kernel's memory")

    def layout(self, descriptor: bytes, options: KernelOptions) -> None:
        """Hand the descriptor over; raises the kernel's error."""
        if len(descriptor) > self._staging_size:
            raise LoadError(f"the model has too many tensors ({len(descriptor)} bytes of names)")
        self.write(self._staging, descriptor)
        numbers = (options.context_length, options.threads, options.sequences, options.flags)
        code = int(self.call("mlr_open", len(descriptor), *numbers))
        if code:
            raise error_for(code, f"mlr_open({', '.join(map(str, numbers))})")
        self._staging = int(self.call("mlr_staging"))

    def feed(self, offset: int, data: bytes | memoryview) -> None:
        """Hand over bytes of the variant's file that begin at `offset`."""
        view = memoryview(data)
        for start in range(0, len(view), self._staging_size):
            part = view[start : start + self._staging_size]
            self.write(self._staging, part)
            code = int(self.call("mlr_feed", float(offset + start), len(part)))
            if code:
                raise error_for(code, f"mlr_feed({offset + start}, {len(part)})")

    def start(self, threads: int) -> None:
        """After the last byte: make the model ready and start its worker threads."""
        code = int(self.call("mlr_ready"))
        if code:
            raise error_for(code, "mlr_ready()")
        for index in range(1, threads):
            store, exports = self._instantiate()
            worker = threading.Thread(
                target=_work,
                args=(index, store, exports),
                name=f"mlr-kernel-{index}",
                daemon=True,
            )
            worker.start()
            self._workers.append(worker)
        # Workers hold the memory: those of a kernel that is dropped unclosed are to end, too.
        self._dropped = weakref.finalize(self, self._exports["mlr_close"], self._store)
        self._dropped.atexit = False

    def close(self) -> None:
        """End the threads and free the memory."""
        if self._memory is None:
            return
        self.call("mlr_close")
        for worker in self._workers:
            worker.join(JOIN_SECONDS)
        if self._dropped is not None:
            self._dropped.detach()
        self._functions.clear()
        self._memory = self._exports = self._store = None


def _work(index: int, store: Any, exports: Any) -> None:
    """What a worker thread does; it does not know the kernel, so that one can be dropped."""
    wasmtime = _wasmtime()
    try:
        exports["mlr_worker"](store, index)
    except (wasmtime.Trap, wasmtime.WasmtimeError):
        exports["mlr_abort"](store)  # mlr_eval on instance 0 then reports the failure


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def plan(descriptor: bytes, options: KernelOptions, build: str = BUILDS[0]) -> KernelPlan:
    """Lay a model out on a small memory to learn what it takes.

    What 32 bits do not address is laid out for the build that addresses 64, which `open_kernel`
    then takes.
    """
    kernel = WasmtimeKernel(PLANNER_PAGES, build)
    try:
        kernel.layout(descriptor, options)
        total, weights, cache, scratch = (int(kernel.call("mlr_bytes", kind)) for kind in range(4))
    finally:
        kernel.close()
    if total > MAX_MEMORY and build != WIDE:
        wide = plan(descriptor, options, WIDE)
        # which may take less, its passes being shorter; `open_kernel` tells the build by the total
        return replace(wide, total_bytes=max(wide.total_bytes, MAX_MEMORY + 1))
    return KernelPlan(descriptor, options, total, MemoryReport(weights, cache, scratch))


async def open_kernel(
    bundle: Bundle,
    variant: Variant,
    plan: KernelPlan,
    on_progress: ProgressCallback | None,
    host: Host,
    build: str = BUILDS[0],
) -> WasmtimeKernel:
    """Stream a variant's weights into a kernel's memory and start its threads."""

    def report(stage: str, done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(LoadProgress(stage, done, total))

    def on_fetch(done: int, total: int) -> None:
        report("fetch", done, total)

    pages = -(-plan.total_bytes // PAGE)
    kernel = WasmtimeKernel(pages, WIDE if plan.total_bytes > MAX_MEMORY else build)
    try:
        kernel.layout(plan.descriptor, plan.options)
        start = min(tensor.offset for tensor in variant.tensors)
        # closed here, so that an error in the middle ends the fetching as well
        async with aclosing(bundle.stream(variant, start, on_fetch)) as pieces:
            async for offset, data in pieces:
                await host.run(kernel.feed, offset, data)
                report("load", offset + len(data), variant.size)
        kernel.start(plan.options.threads)
    except BaseException:
        kernel.close()
        raise
    return kernel
