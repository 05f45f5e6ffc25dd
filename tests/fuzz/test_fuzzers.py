"""A short run of each fuzzer, so that they stay in order. Long runs: `make fuzz`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.targets import open_target

ROUNDS = {"gguf": 150, "descriptor": 150, "calls": 30, "weights": 60, "architectures": 8}


@pytest.mark.parametrize("name", ROUNDS)
def test_nothing_is_found(name: str, tmp_path: Path) -> None:
    with open_target(name, tmp_path) as fuzz:
        for number in range(ROUNDS[name]):
            fuzz(random.Random(f"{name} 0 {number}"))
