"""Fixtures of the tests that run the npm package in every host."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def packages(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package by the build of the kernel that it takes: `simd` in the place of `relaxed`."""
    simd = tmp_path_factory.mktemp("simd") / "package"
    shutil.copytree(package, simd, ignore=shutil.ignore_patterns("types"))
    shutil.copyfile(package / "kernel-simd.wasm", simd / "kernel-relaxed.wasm")
    return {"relaxed": package, "simd": simd}
