"""What every command of a terminal does: streams that can be used, errors as exit statuses.

Exit statuses: 0 success, 2 wrong usage, an error's own `exit_status`, 1 any other error of the
system, 130 after Ctrl-C and 141 when whoever read the output went away.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable

from mlr.errors import MlrError

__all__ = ["EXIT_STATUSES", "run_command"]

# The end of a command's help.
EXIT_STATUSES = """\
exit status: 0 done; 1 failed; 2 wrong usage; 3 a broken file; 4 a model that is not supported;
5 could not be fetched; 6 no room; 7 the engine failed; 130 interrupted; 141 nobody read the output
"""

INTERRUPTED = 130  # what a shell reports for a command that SIGINT ended
BROKEN_PIPE = 141  # the same for SIGPIPE


def run_command(program: str, execute: Callable[[], int], interrupted: str = "") -> int:
    """Run `execute`, which returns an exit status, and return that or an error's.

    An error is one line on standard error that begins with `program`; after Ctrl-C it is
    `interrupted`, if there is something to say. Only argparse leaves through `SystemExit`
    (usage, help).
    """
    _prepare_streams()
    try:
        status = execute()
        sys.stdout.flush()
    except MlrError as error:
        return _fail(program, str(error), error.exit_status)
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except OSError as error:
        return _fail(program, str(error), 1)
    except KeyboardInterrupt:
        # A second Ctrl-C while the interpreter winds down ends the process without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            if sys.stderr.isatty():
                print(file=sys.stderr)  # the shell's prompt goes on a line of its own
            if interrupted:
                print(f"{program}: {interrupted}", file=sys.stderr)
        return INTERRUPTED
    return status


def _prepare_streams() -> None:
    """Streams for text of any script; nothing in the place of those that were closed (`>&-`)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # It stays open as long as the process.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            # Whatever the locale; a replaced character beats a crash.
            stream.reconfigure(encoding="utf-8", errors="replace")


def _fail(program: str, message: str, status: int) -> int:
    """Report an error as one line on standard error."""
    try:
        sys.stdout.flush()  # what was already written comes first
    except OSError:
        _discard_output()
    with contextlib.suppress(OSError):
        print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _discard_output() -> None:
    """Point standard output at nothing, so that the flush at exit does not complain again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
