"""`mlr serve` without what it needs; the server as a process is tested with the server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mlr.cli.main import main


@pytest.mark.parametrize("module", ["uvicorn", "starlette", "pydantic"])
def test_a_missing_package(module: str) -> None:
    script = (
        "import sys\n"
        f"sys.modules[{module!r}] = None\n"
        "from mlr.cli.main import main\n"
        "sys.exit(main(['serve', 'bundle']))\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        f"mlr: error: mlr serve needs the package {module!r}, which is not installed: "
        "pip install 'mlr[server]'\n"
    )


def test_a_draft_is_for_one_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "one", "two", "--draft", "three", "--port", "0"]) == 2
    assert "--draft goes with one bundle" in capsys.readouterr().err
