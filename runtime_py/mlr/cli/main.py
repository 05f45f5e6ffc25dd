"""The `mlr` command: finds the subcommand and runs it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from mlr.terminal import EXIT_STATUSES, run_command

__all__ = ["main"]

# The module of each subcommand is imported only when it is the one that runs.
COMMANDS = {
    "run": "generate text from a prompt",
    "embed": "turn texts into vectors",
    "serve": "serve models over HTTP, with the playground",
    "tokenize": "show the tokens of a text",
    "bench": "measure how fast a model loads and runs",
    "cache": "show or empty the cache of downloaded bundles",
}


class _ShowVersion(argparse.Action):
    """`--version`, reading the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from mlr import __version__

        print(f"mlr {__version__}")
        parser.exit()


def build_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser that knows every subcommand by name and the `chosen` one in full."""
    parser = argparse.ArgumentParser(
        prog="mlr",
        description="Run model bundles: the same tokens natively and on the web.",
        epilog="`mlr COMMAND --help` shows the options of a command.\n\n" + EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action=_ShowVersion, nargs=0, help="show the version and leave"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        if name == chosen:
            module = importlib.import_module(f"mlr.cli.{name}")
            module.configure(command)
            command.set_defaults(execute=module.execute)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) asks for.

    Returns the exit status; only argparse leaves through `SystemExit` (usage, help).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # No option before the command takes a value, so the first plain word is the command.
    chosen = next((word for word in arguments if not word.startswith("-")), None)

    def execute() -> int:
        parsed = build_parser(chosen).parse_args(arguments)
        status: int = parsed.execute(parsed)
        return status

    return run_command("mlr", execute)
