"""`mlr cache`: show or empty the cache of what came from the network."""

from __future__ import annotations

import argparse
import dataclasses

from mlr.cli.arguments import add_json_option
from mlr.cli.output import format_bytes, print_json
from mlr.errors import RequestError

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = "The folder is $MLR_CACHE, or without that in the platform's place for caches."
    parser.add_argument(
        "action",
        choices=("list", "size", "clear"),
        nargs="?",
        default="list",
        help="list what is there, show its size, or remove it (default: %(default)s)",
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="with clear: the bundle to remove (default: all)"
    )
    add_json_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from mlr.bundle import cache

    if args.action == "clear":
        _clear(args.name, args.json)
        return 0
    if args.name is not None:
        raise RequestError(f"mlr cache {args.action} takes no name; `mlr cache list` shows all")
    where = str(cache.cache_directory())
    size = cache.size()
    if args.json:
        answer: dict[str, object] = {"directory": where, "size": size}
        if args.action == "list":
            answer["entries"] = [dataclasses.asdict(entry) for entry in cache.entries()]
        print_json(answer)
    elif args.action == "size":
        print(f"{format_bytes(size)} in {where}")
    else:
        for entry in cache.entries():
            state = "" if entry.complete else "  (incomplete)"
            print(f"{format_bytes(entry.size):>10}  {entry.name}  {entry.location}{state}")
        print(f"{format_bytes(size):>10}  in all, in {where}")
    return 0


def _clear(name: str | None, as_json: bool) -> None:
    from mlr.bundle import cache

    if name is not None and not any(name in (e.name, e.location) for e in cache.entries()):
        raise RequestError(f"{name!r} is not in the cache; `mlr cache list` shows what is")
    freed = cache.clear(name)
    if as_json:
        print_json({"freed": freed})
    else:
        print(f"{format_bytes(freed)} freed")
