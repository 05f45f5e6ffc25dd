"""A loaded kernel as the engine sees it, and the plan that it is loaded by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from mlr.engines.base import MemoryReport

__all__ = ["CacheType", "KernelInstance", "KernelOptions", "KernelPlan"]

CacheType = Literal["q16", "q8"]


@dataclass(frozen=True, slots=True)
class KernelOptions:
    """What a model is laid out for: `context_length` tokens of each sequence."""

    context_length: int
    threads: int
    sequences: int = 1
    kv_type: CacheType = "q16"

    @property
    def flags(self) -> int:
        """What `mlr_open` takes: bit 0 for a KV cache in 8 bits."""
        return int(self.kv_type == "q8")


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """What the kernel is going to need, found out before anything is fetched."""

    descriptor: bytes  # see descriptor.py
    options: KernelOptions
    total_bytes: int  # of memory, the module's own data included
    memory: MemoryReport


class KernelInstance(Protocol):
    """Synchronous access to instance 0 of a kernel whose weights are in place.

    Addresses and sizes are bytes in the kernel's memory. A trap raises `EngineError` and leaves
    the instance unusable.
    """

    @property
    def detail(self) -> str:
        """One line on how it runs, such as `relaxed SIMD, 2 threads, wasmtime`."""
        ...

    def call(self, name: str, *arguments: float) -> float:
        """Call an export. Returns its number as the export gives it."""
        ...

    def write(self, address: int, data: bytes) -> None:
        """Copy bytes into memory."""
        ...

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out of memory."""
        ...

    def close(self) -> None:
        """End the threads and free the memory. Safe to call twice."""
        ...
