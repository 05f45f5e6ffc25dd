"""`mlr serve`: models behind an OpenAI-compatible server, with the playground."""

from __future__ import annotations

import argparse

from mlr.cli.arguments import add_draft_option, add_loading_options, whole
from mlr.cli.output import load_progress
from mlr.errors import MissingDependencyError

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundles", metavar="BUNDLE", nargs="+", help="a bundle's folder or URL")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on; there is no authentication, so beware of others than "
        "this machine's own (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=whole(0, 65535),
        default=8000,
        metavar="PORT",
        help="the port to listen on; 0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--parallel",
        type=whole(1, 64),
        default=1,
        metavar="N",
        help="answer N requests at once, each with a context of its own (default: %(default)s)",
    )
    add_loading_options(parser, engine=False)
    add_draft_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    try:
        from mlr.server.process import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("mlr"):
            raise
        raise MissingDependencyError(error.name.partition(".")[0], "server", "mlr serve") from None
    return run(
        args.bundles,
        host=args.host,
        port=args.port,
        threads=args.threads,
        context_length=args.context_length,
        parallel=args.parallel,
        kv_type=args.kv_type,
        draft=args.draft,
        progress=load_progress,
    )
