"""Loading the bundle that a command names, with a progress bar on a terminal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mlr.cli.output import load_progress

if TYPE_CHECKING:
    from mlr.model import Model

__all__ = ["load_model"]


async def load_model(args: argparse.Namespace, **more: Any) -> Model:
    """Load `args.bundle` as the options of `add_loading_options` say, and `more`.

    Raises what `load` raises.
    """
    from mlr.model import load

    with load_progress(args.bundle) as on_progress:
        return await load(
            args.bundle,
            engine=args.engine,
            threads=args.threads,
            context_length=args.context_length,
            kv_type=args.kv_type,
            on_progress=on_progress,
            **more,
        )
