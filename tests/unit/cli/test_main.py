"""The command itself: choosing a subcommand, usage, versions, exit statuses."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from mlr import __version__, errors
from mlr.cli.main import COMMANDS, main
from mlr.terminal import BROKEN_PIPE, INTERRUPTED
from mlr_build.cli import main as mlr_build


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run with wrong usage; the complaint, which must be on standard error alone."""
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def status_of(arguments: list[str]) -> object:
    """The exit status, whichever way the command leaves."""
    try:
        return main(arguments)
    except SystemExit as leaving:
        return leaving.code


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    assert leaving.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("program", [main, mlr_build])
def test_help_says_what_every_exit_status_means(
    program: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        program(["--help"])
    _, _, statuses = capsys.readouterr().out.partition("exit status: ")
    kinds = [getattr(errors, name) for name in errors.__all__]
    meant = {0, 2, INTERRUPTED, BROKEN_PIPE, *(kind.exit_status for kind in kinds)}
    assert {int(number) for number in re.findall(r"\d+", statuses)} >= meant


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([command, "--help"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: mlr {command} ")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"mlr {__version__}\n"


def test_as_a_module() -> None:
    command = [sys.executable, "-m", "mlr", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mlr {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["serve", "--help"]])
def test_help_imports_little(arguments: list[str]) -> None:
    """Nothing outside the standard library, and none of what computes."""
    script = (
        "import sys\n"
        "from mlr.cli.main import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted(sys.modules), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(eval(done.stderr))
    assert not loaded & {"rich", "starlette", "uvicorn", "pydantic", "numpy", "wasmtime", "jinja2"}
    assert not loaded & {"mlr.model", "mlr.server.app", "mlr.tokenizer"}
    assert arguments != ["--help"] or "asyncio" not in loaded


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["--no-such-option"],
        ["run"],
        ["run", "bundle", "prompt", "extra"],
        ["run", "bundle", "--no-such-option"],
        ["serve"],
        ["tokenize", "bundle"],
        ["bench"],
        ["cache", "burn"],
        ["cache", "list", "name"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "mlr" in err


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--max-tokens", ["0", "-1", "1.5", "many", "", "1e3", "99999999999999999999"]),
        ("--temperature", ["-0.1", "101", "nan", "inf", "hot"]),
        ("--top-k", ["-1", "2147483648", "0.5"]),
        ("--top-p", ["-0.1", "1.1", "nan"]),
        ("--min-p", ["-0.1", "1.1", "nan"]),
        ("--repeat-penalty", ["0", "-1", "101", "nan"]),
        ("--seed", ["-1", "18446744073709551616", "abc"]),
        ("--threads", ["0", "-1", "65", "two"]),
        ("--context-length", ["0", "-5", "99999999999"]),
        ("--engine", ["warp"]),
    ],
)
def test_numbers_out_of_range(
    option: str, values: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for value in values:
        error = usage_error(capsys, "run", "bundle", "prompt", f"{option}={value}")
        assert f"argument {option}: " in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "b", "--repeat", "0"],
        ["bench", "b", "--prompt-tokens", "0"],
        ["bench", "b", "--new-tokens", "-1"],
        ["serve", "b", "--port", "65536"],
        ["serve", "b", "--port", "-1"],
        ["serve", "b", "--port", "http"],
        ["serve", "b", "--threads", "0"],
    ],
)
def test_other_numbers_out_of_range(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "argument --" in usage_error(capsys, *arguments)
