"""The `mlr-build` command: parses arguments and turns errors into one line and a status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mlr.errors import MlrError
from mlr_build import __version__
from mlr_build.commands import inspect, package, site, worker

__all__ = ["main"]

_COMMANDS = {"package": package, "inspect": inspect, "site": site, "worker": worker}

_EXIT_STATUSES = """\
exit status: 0 done; 1 failed; 2 wrong usage; 3 a broken file; 4 a model that is not supported;
5 could not be fetched; 6 no space; 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(
        prog="mlr-build",
        description="Package models into bundles that run in browsers, at the edge and on servers.",
        epilog=_EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mlr-build {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__.partition(": ")[2].capitalize() if module.__doc__ else None,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(command)
        command.set_defaults(execute=module.execute)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    args = build_parser().parse_args(arguments)
    try:
        return int(args.execute(args))
    except MlrError as error:
        print(f"mlr-build: error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("mlr-build: interrupted; nothing was left behind", file=sys.stderr)
        return 130
