"""`mlr cache`: show or empty the cache of bundles that came from the network."""

from __future__ import annotations

import argparse

from mlr.cli.arguments import add_json_option
from mlr.cli.output import format_bytes, print_json, print_table

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "action",
        choices=("list", "size", "clear"),
        nargs="?",
        default="list",
        help="list the bundles, give their total size in bytes, or remove (default: %(default)s)",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="clear this bundle only")
    add_json_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    raise NotImplementedError
