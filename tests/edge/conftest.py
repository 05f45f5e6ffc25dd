"""Fixtures of the tests that run the npm package in every host."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import IN_CI, ROOT
from tests.edge.hosts import MODULES

PACKAGE = ROOT / "web" / "dist"


def _there(path: Path, target: str) -> Path:
    if not path.exists():
        reason = f"{path.relative_to(ROOT)} is not there: run `make {target}`"
        if IN_CI:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def package() -> Path:
    """The built npm package."""
    return _there(PACKAGE / "package.json", "package").parent


@pytest.fixture(scope="session")
def hosts() -> Path:
    """The hosts' programs."""
    return _there(MODULES / ".installed", "hosts").parent


@pytest.fixture(scope="session")
def packages(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package by the build of the kernel that it takes: `simd` in the place of `relaxed`."""
    simd = tmp_path_factory.mktemp("simd") / "package"
    shutil.copytree(package, simd, ignore=shutil.ignore_patterns("types"))
    shutil.copyfile(package / "kernel-simd.wasm", simd / "kernel-relaxed.wasm")
    return {"relaxed": package, "simd": simd}
