"""What differs between CPython and Pyodide: one protocol, one module per host, chosen once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from mlr.bundle.cache import DiskCache
    from mlr.bundle.manifest import Variant
    from mlr.bundle.reader import Bundle
    from mlr.engines.kernel.instance import KernelInstance, KernelOptions, KernelPlan

__all__ = ["MAX_DEFAULT_THREADS", "Host", "LoadProgress", "ProgressCallback"]

T = TypeVar("T")

MAX_DEFAULT_THREADS = 8  # more seldom help: decoding waits for memory, not for cores


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far loading is: `done` of `total` bytes of a stage (`fetch` or `load`)."""

    stage: str
    done: int
    total: int


ProgressCallback = Callable[[LoadProgress], None]


class Host(Protocol):
    """Where Python runs."""

    @property
    def name(self) -> str:
        """`cpython` or `pyodide`."""
        ...

    @property
    def memory64(self) -> bool:
        """Whether the kernel may have more memory than 32 bits address."""
        ...

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking call: in a thread where there are threads, else directly."""
        ...

    async def read_url(self, url: str, limit: int) -> bytes:
        """The body of an http(s) URL of at most `limit` bytes. Raises `FetchError`."""
        ...

    def disk_cache(self) -> DiskCache | None:
        """Where files from the network are kept, or None where the browser keeps them."""
        ...

    def default_threads(self) -> int:
        """How many threads an engine should compute on by default."""
        ...

    def thread_limit_reason(self) -> str | None:
        """Why only one thread can compute here, or None when several can."""
        ...

    def memory_available(self) -> int | None:
        """Bytes of memory that can still be taken, or None when the host does not tell."""
        ...

    def give_memory_back(self) -> None:
        """Return what Python has freed to the system, where the system does not get it anyway."""
        ...

    async def plan_kernel(self, descriptor: bytes, options: KernelOptions) -> KernelPlan:
        """Ask the kernel how much memory a model takes. Raises `LoadError`."""
        ...

    async def open_kernel(
        self,
        bundle: Bundle,
        variant: Variant,
        plan: KernelPlan,
        on_progress: ProgressCallback | None,
    ) -> KernelInstance:
        """Make the kernel's memory, stream the variant's weights into it, start its threads."""
        ...
