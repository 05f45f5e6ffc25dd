"""The `mlr` command: finds the subcommand, runs it, and turns errors into exit statuses.

Exit statuses: 0 success, 2 wrong usage, an error's own `exit_status`, 130 after Ctrl-C and
141 when whoever read the output went away.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence

from mlr.errors import MlrError

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

INTERRUPTED = 130  # what a shell reports for a command that SIGINT ended
BROKEN_PIPE = 141  # the same for SIGPIPE


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
        epilog="`mlr COMMAND --help` shows the options of a command.",
    )
    parser.add_argument(
        "--version", action=_ShowVersion, nargs=0, help="show the version and leave"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
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
    for stream in (sys.stdout, sys.stderr):
        # Text of any script is printed, whatever the locale; a replaced character beats a crash.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    # No option before the command takes a value, so the first plain word is the command.
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    try:
        parsed = build_parser(chosen).parse_args(arguments)
        status: int = parsed.execute(parsed)
        sys.stdout.flush()
    except MlrError as error:
        return _fail(str(error), error.exit_status)
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except OSError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        # A second Ctrl-C while the interpreter winds down ends the process without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            if sys.stderr.isatty():
                print(file=sys.stderr)  # the shell's prompt goes on a line of its own
        return INTERRUPTED
    return status


def _fail(message: str, status: int) -> int:
    """Report an error as one line on standard error."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()  # what was already written comes first
    print(f"mlr: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _discard_output() -> None:
    """Point standard output at nothing, so that the flush at exit does not complain again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
