"""A small real bundle, packaged once, and a server that misbehaves on demand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlr.bundle.manifest import Manifest
from mlr.bundle.manifest_reader import parse_manifest
from mlr_build.package import package
from mlr_build.progress import open_progress
from mlr_build.sources import open_source
from tests.support.tiny_models import tiny_gguf
from tests.unit.bundle.faulty_server import FaultyServer, serve

SHARD_SIZE = 256 << 10  # of one chunk of 256 KiB each


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny model of about 2 MB; not to be changed."""
    folder = tmp_path_factory.mktemp("packaged")
    source = tiny_gguf(folder / "tiny.gguf", quantization="F32", n_vocab=600)
    progress = open_progress()
    with open_source(str(source), progress) as opened:
        package(opened, folder / "bundle", progress, shard_size=SHARD_SIZE)
    return folder / "bundle"


@pytest.fixture
def bundle_dir(packaged: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(packaged, tmp_path / "bundle"))


@pytest.fixture
def manifest(packaged: Path) -> Manifest:
    """The bundle's manifest."""
    return parse_manifest((packaged / "manifest.json").read_bytes(), "manifest.json")


@pytest.fixture
def server(bundle_dir: Path) -> Iterator[FaultyServer]:
    """A server of the copy's parent folder: the bundle is at `/bundle/`."""
    with serve(bundle_dir.parent) as running:
        yield running


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MLR_CACHE", str(folder))
    return folder
