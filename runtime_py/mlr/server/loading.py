"""Loads the bundles that a server will serve, before it listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from functools import partial

from mlr import hosts
from mlr.bundle.reader import open_bundle
from mlr.engines.kernel.instance import CacheType
from mlr.errors import RequestError
from mlr.hosts.base import ProgressCallback
from mlr.model import load
from mlr.server.bundles import BundleFiles
from mlr.server.registry import Registry, ServedModel
from mlr.server.turns import Turns

__all__ = ["Progress", "load_models"]

Progress = Callable[[str], AbstractContextManager[ProgressCallback | None]]
"""Makes what shows the progress of one load, from the model's name."""


async def load_models(
    locations: Sequence[str],
    stack: AsyncExitStack,
    *,
    threads: int | None,
    context_length: int | None,
    parallel: int,
    kv_type: CacheType,
    draft: str | None,
    progress: Progress,
) -> Registry:
    """Load a model from each bundle; `stack` closes them.

    `draft` is the bundle of a draft model, for the one model that is served with it. Raises what
    loading raises, and `RequestError` when two bundles have one name, or share a draft.
    """
    if draft is not None and len(locations) > 1:
        raise RequestError("--draft goes with one bundle: serve the others by another process")
    served: list[ServedModel] = []
    for location in locations:
        host = hosts.current()
        bundle = await open_bundle(location, host)
        name = bundle.manifest.name
        if any(other.id == name for other in served):
            raise RequestError(f"{location}: another of these bundles is named {name!r} too")
        load_it = partial(
            load,
            location,
            threads=threads,
            context_length=context_length,
            sequences=parallel,
            kv_type=kv_type,
            draft=draft,
        )
        try:
            with progress(name) as on_progress:
                model = await load_it(on_progress=on_progress)
        except RequestError as error:  # what is asked for may suit the others
            raise RequestError(f"{name}: {error}") from None
        files = BundleFiles(bundle, host.disk_cache())
        served.append(ServedModel(name, model, load_it, files, Turns(parallel=parallel)))
        stack.push_async_callback(served[-1].close)
    return Registry(served)
