"""The `mlr-build` command: parses arguments and runs what they ask for."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from mlr.terminal import EXIT_STATUSES, run_command
from mlr_build import __version__

__all__ = ["main"]

_COMMANDS = ("package", "inspect", "site", "worker")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(
        prog="mlr-build",
        description="Package models into bundles that run in browsers, at the edge and on servers.",
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mlr-build {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in _COMMANDS:
        module = importlib.import_module(f"mlr_build.commands.{name}")
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

    def execute() -> int:
        args = build_parser().parse_args(arguments)
        status: int = args.execute(args)
        return status

    return run_command("mlr-build", execute, "interrupted; nothing was left behind")
