"""From bundles to engines: a model, and beside it the draft model that guesses for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlr.engines.base import Engine
from mlr.engines.context import choose_context
from mlr.errors import RequestError
from mlr.hosts.base import Host, ProgressCallback

if TYPE_CHECKING:
    from mlr.bundle.manifest import Variant
    from mlr.bundle.reader import Bundle
    from mlr.engines.kernel.instance import CacheType

__all__ = ["EngineOptions", "Source", "open_engines"]


@dataclass(frozen=True, slots=True)
class Source:
    """The bundle of a model, and which of its variants is loaded."""

    bundle: Bundle
    variant: Variant


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine is opened; what each is stands at `mlr.load`. `name` is the engine's."""

    name: str
    threads: int | None
    context_length: int | None
    sequences: int
    kv_type: CacheType
    memory_limit: int | None


async def open_engines(
    sources: Sequence[Source],
    host: Host,
    options: EngineOptions,
    on_progress: ProgressCallback | None,
) -> list[Engine]:
    """Load a model and, where there are two sources, its draft.

    The draft gets as many sequences and, if its positions go so far, as much context. Raises
    `CapacityError`, before anything is fetched, where the two do not fit together, and
    `RequestError` for a pair that does not generate text.
    """
    if len(sources) == 1:
        return [await _open(sources[0], host, options, on_progress)]
    target, draft = (source.variant for source in sources)
    for variant, what in ((target, "the model"), (draft, "the draft model")):
        if variant.config.pooling != "none" or not variant.config.causal:
            raise RequestError(f"{what} makes embeddings: drafts are for models that make text")
    context_length = choose_context(target.config, options.context_length)
    context_length = min(context_length, draft.config.context_length)
    draft_options = replace(options, context_length=context_length, memory_limit=None)
    beside = await _bytes(draft, host, draft_options)
    engine = await _open(sources[0], host, options, on_progress, beside)
    try:
        return [engine, await _open(sources[1], host, draft_options, on_progress)]
    except BaseException:
        engine.close()
        raise


async def _bytes(variant: Variant, host: Host, options: EngineOptions) -> int:
    """What a model is going to take; 0 where the engine does not tell before."""
    if options.name == "reference":
        return 0
    from mlr.engines.kernel.opening import plan_variant

    plan = await plan_variant(
        variant,
        host,
        options.threads,
        options.context_length,
        options.sequences,
        options.kv_type,
    )
    return plan.total_bytes


async def _open(
    source: Source,
    host: Host,
    options: EngineOptions,
    on_progress: ProgressCallback | None,
    beside: int = 0,
) -> Engine:
    bundle, variant, context_length = source.bundle, source.variant, options.context_length
    if options.name == "reference":
        from mlr.engines.reference import open_engine as open_reference

        return await open_reference(bundle, variant, host, context_length=context_length)
    from mlr.engines.kernel.opening import open_engine as open_kernel

    return await open_kernel(
        bundle,
        variant,
        host,
        threads=options.threads,
        context_length=context_length,
        sequences=options.sequences,
        kv_type=options.kv_type,
        memory_limit=options.memory_limit,
        on_progress=on_progress,
        beside=beside,
    )
