"""A tiny model to package, and the command run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlr_build.progress import Progress, open_progress
from tests.support.tiny_models import tiny_gguf

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama of about 1 MB; not to be changed."""
    return tiny_gguf(tmp_path_factory.mktemp("model") / "tiny-llama.gguf", n_vocab=600)


@pytest.fixture
def progress() -> Progress:
    """Plain lines on standard error."""
    return open_progress()


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MLR_CACHE", str(folder))
    return folder


@pytest.fixture
def environment() -> dict[str, str]:
    """Variables with which a new Python finds what this one imports."""
    paths = [path for path in sys.path if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"}


@pytest.fixture
def mlr_build(environment: dict[str, str]) -> Command:
    """Run `mlr-build` with arguments, as a process of its own."""

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mlr_build", *map(str, arguments)]
        return subprocess.run(
            command,
            env={**environment, "MLR_CACHE": os.environ["MLR_CACHE"], **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
