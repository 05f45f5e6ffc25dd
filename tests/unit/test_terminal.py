"""Commands whose streams are closed, full or read by nobody, as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = {
    "mlr": ["mlr", "run", "BUNDLE", "hello", "--max-tokens", "3"],
    "mlr --json": ["mlr", "run", "BUNDLE", "hello", "--max-tokens", "3", "--json"],
    "mlr-build": ["mlr_build", "inspect", "BUNDLE"],
    "mlr-build --json": ["mlr_build", "inspect", "BUNDLE", "--json"],
}


def shell(bundle: Path, command: list[str], redirection: str) -> subprocess.CompletedProcess[str]:
    """A command run by a shell, with its streams redirected."""
    words = [str(bundle) if word == "BUNDLE" else word for word in command]
    script = f'"$0" -m "$@" {redirection}'
    return subprocess.run(
        ["sh", "-c", script, sys.executable, *words], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("redirection", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(tiny_bundle: Path, command: list[str], redirection: str) -> None:
    done = shell(tiny_bundle, command, redirection)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) == (">&-" not in redirection.replace("2>&-", ""))


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")  # noqa: PTH110
def test_a_full_disk_behind_standard_output(tiny_bundle: Path, command: list[str]) -> None:
    done = shell(tiny_bundle, command, ">/dev/full")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("error: [Errno 28] No space left on device")


def test_a_prompt_from_a_closed_standard_input(tiny_bundle: Path) -> None:
    """There is none: the text begins from nothing, as with an empty file."""
    run = ["mlr", "run", "BUNDLE", "--max-tokens", "3"]
    closed, empty = (shell(tiny_bundle, run, source) for source in ("<&-", "</dev/null"))
    assert (closed.returncode, closed.stdout) == (0, empty.stdout)


def test_ctrl_c_while_a_command_is_imported() -> None:
    script = (
        "import sys, builtins\n"
        "from mlr_build.cli import main\n"
        "real = builtins.__import__\n"
        "def importing(name, *rest):\n"
        "    if name == 'asyncio': raise KeyboardInterrupt\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = importing\n"
        "sys.exit(main(['inspect', 'x']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        130,
        "mlr-build: interrupted; nothing was left behind\n",
    )
