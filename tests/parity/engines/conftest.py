"""Fixtures of the engines' comparisons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.tiny_cases import TinyCase


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[TinyCase], Path]:
    """Makes the file of a tiny case, once per run."""
    folder = tmp_path_factory.mktemp("tiny")
    return lambda case: case.build(folder)
