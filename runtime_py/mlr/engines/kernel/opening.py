"""From a bundle's variant to a `KernelEngine`: predict the memory, refuse or load."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from mlr.engines.context import choose_context
from mlr.engines.kernel.abi import MAX_MEMORY, MAX_MEMORY_64
from mlr.engines.kernel.descriptor import build_descriptor
from mlr.engines.kernel.engine import KernelEngine
from mlr.engines.kernel.instance import CacheType, KernelOptions, KernelPlan
from mlr.errors import CapacityError, FormatError, RequestError
from mlr.formats.expected_tensors import NOT_FINITE
from mlr.hosts.base import Host, ProgressCallback

if TYPE_CHECKING:
    from mlr.bundle.manifest import Variant
    from mlr.bundle.reader import Bundle

__all__ = ["open_engine", "plan_variant"]

SMALLEST_CONTEXT = 256  # the least that is worth suggesting
MAX_THREADS = 64
MAX_SEQUENCES = 64


async def plan_variant(
    variant: Variant,
    host: Host,
    threads: int | None,
    context_length: int | None,
    sequences: int = 1,
    kv_type: CacheType = "q16",
) -> KernelPlan:
    """What loading a variant would take, for `context_length` tokens (default: up to 4096).

    Raises `RequestError` for a context longer than the model's, and for a number of threads or
    sequences that is out of range.
    """
    config = variant.config
    context_length = choose_context(config, context_length)
    if threads is None:
        threads = host.default_threads()
    for name, value, most in (
        ("threads", threads, MAX_THREADS),
        ("sequences", sequences, MAX_SEQUENCES),
    ):
        if not isinstance(value, int) or not 1 <= value <= most:
            raise RequestError(f"{name} must be between 1 and {most}, got {value!r:.40}")
    if kv_type not in get_args(CacheType):
        raise RequestError(f"kv_type must be q16 or q8, got {kv_type!r}")
    if host.thread_limit_reason() is not None:
        threads = 1
    descriptor = build_descriptor(config, variant.tensors)
    options = KernelOptions(context_length, threads, sequences, kv_type)
    return await host.plan_kernel(descriptor, options)


async def open_engine(
    bundle: Bundle,
    variant: Variant,
    host: Host,
    *,
    threads: int | None,
    context_length: int | None,
    sequences: int,
    kv_type: CacheType,
    memory_limit: int | None,
    on_progress: ProgressCallback | None,
    beside: int = 0,
) -> KernelEngine:
    """Load a variant into the kernel.

    Raises `CapacityError`, before anything is fetched, when the predicted memory is more than
    `memory_limit` (bytes), than the host has left, or than its WebAssembly can address. Of the
    first two, `beside` bytes are for a draft model. Raises `FormatError` for a vector that is not
    finite.
    """
    plan = await plan_variant(variant, host, threads, context_length, sequences, kv_type)
    limit, source = _limit(host, memory_limit, beside)
    if plan.total_bytes > limit:
        raise await _too_large(plan, variant, host, limit, source)
    instance = await host.open_kernel(bundle, variant, plan, on_progress)
    damaged = int(instance.call("mlr_damaged"))  # counted from 1
    if damaged:
        instance.close()
        tensor = sorted(variant.tensors, key=lambda tensor: tensor.offset)[damaged - 1]
        raise FormatError(variant.id, tensor.name, tensor.offset, NOT_FINITE)
    return KernelEngine(instance, plan, variant.config)


def _limit(host: Host, memory_limit: int | None, beside: int) -> tuple[int, str]:
    if host.memory64:
        limits = [(MAX_MEMORY_64, "the kernel addresses")]
    else:
        limits = [(MAX_MEMORY, "the 32-bit WebAssembly memory of this host holds")]
    draft = f"beside the draft model's {_mb(beside)} " if beside else ""
    available = host.memory_available()
    if available is not None:
        limits.append((max(0, available - beside), f"{draft}this machine has free"))
    if memory_limit is not None:
        limits.append((max(0, memory_limit - beside), f"{draft}the limit given allows"))
    return min(limits)


async def _too_large(
    plan: KernelPlan, variant: Variant, host: Host, limit: int, source: str
) -> CapacityError:
    memory, options = plan.memory, plan.options
    times = f"{options.sequences} × " if options.sequences > 1 else ""
    needs = (
        f"the model needs {_mb(plan.total_bytes)} (weights {_mb(memory.weights)}, KV cache "
        f"{_mb(memory.kv_cache)} for {times}{options.context_length} tokens, scratch "
        f"{_mb(memory.scratch)}), and {source} {_mb(limit)}"
    )
    context = options.context_length // 2
    while context >= SMALLEST_CONTEXT:
        smaller = await plan_variant(
            variant, host, options.threads, context, options.sequences, options.kv_type
        )
        if smaller.total_bytes <= limit:
            return CapacityError(
                f"{needs}; a context of {context} tokens would fit ({_mb(smaller.total_bytes)}): "
                f"load with context_length={context}"
            )
        context //= 2
    return CapacityError(f"{needs}; no context length makes it fit: use a smaller quantization")


def _mb(size: int) -> str:
    return f"{size / 1e6:,.{0 if size >= 1e8 else 2}f} MB"
