"""From a bundle's variant to a `ReferenceEngine`: predict the memory, refuse or load."""

from __future__ import annotations

import math
from contextlib import aclosing
from typing import TYPE_CHECKING

from mlr.engines.context import choose_context
from mlr.engines.reference.engine import ReferenceEngine
from mlr.errors import CapacityError
from mlr.hosts.base import Host

if TYPE_CHECKING:
    from mlr.bundle.manifest import Variant
    from mlr.bundle.reader import Bundle

__all__ = ["open_engine"]

FLOAT = 4  # bytes


async def open_engine(
    bundle: Bundle, variant: Variant, host: Host, *, context_length: int | None
) -> ReferenceEngine:
    """Load a variant and dequantize it to float32.

    Raises `RequestError` for a context longer than the model's, and `CapacityError`, before
    anything is fetched, when the host has not the memory.
    """
    config = variant.config
    context_length = choose_context(config, context_length)
    weights = FLOAT * sum(math.prod(tensor.shape) for tensor in variant.tensors)
    cache = FLOAT * 2 * config.n_layers * context_length * config.n_kv_heads * config.head_dim
    needs, available = variant.size + weights + cache, host.memory_available()
    if available is not None and needs > available:
        raise CapacityError(
            f"the reference engine holds weights as float32: the model needs {needs / 1e6:,.0f} MB "
            f"(weights {weights / 1e6:,.0f} MB, KV cache {cache / 1e6:,.0f} MB), and "
            f"{available / 1e6:,.0f} MB are free; use the kernel engine"
        )
    parts = await _read(bundle, variant)
    tensors = {
        tensor.name: (tensor.type, tensor.shape, parts[tensor.name]) for tensor in variant.tensors
    }
    return await host.run(ReferenceEngine.from_tensors, config, tensors, context_length)


async def _read(bundle: Bundle, variant: Variant) -> dict[str, bytearray]:
    """The bytes of every tensor, collected from the stream of the variant's file."""
    waiting = sorted(variant.tensors, key=lambda tensor: tensor.offset)
    parts = {tensor.name: bytearray() for tensor in waiting}
    first = 0  # index of the first tensor that is not whole yet
    async with aclosing(bundle.stream(variant, waiting[0].offset)) as pieces:
        async for offset, data in pieces:
            end = offset + len(data)
            while first < len(waiting) and waiting[first].offset < end:
                tensor, part = waiting[first], parts[waiting[first].name]
                start = tensor.offset + len(part)
                part += memoryview(data)[start - offset : tensor.offset + tensor.size - offset]
                if len(part) < tensor.size:
                    break
                first += 1
    return parts
