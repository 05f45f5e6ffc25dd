"""`mlr cache`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlr.bundle.cache import DiskCache
from mlr.cli.main import main


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiskCache:
    """A cache with two bundles, one of them incomplete."""
    monkeypatch.setenv("MLR_CACHE", str(tmp_path))
    cache = DiskCache()
    cache.store("a" * 64, b"x" * 2048)
    cache.register("first", "https://example.org/first/", {"a" * 64: 2048})
    cache.register("second", "https://example.org/second/", {"b" * 64: 512})
    return cache


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["cache", *arguments]) == 0
    return capsys.readouterr().out


def test_the_list(cache: DiskCache, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, total = run(capsys).splitlines()
    assert first.split() == ["2.0", "KiB", "first", "https://example.org/first/"]
    assert second.split()[2:] == ["second", "https://example.org/second/", "(incomplete)"]
    assert str(cache.root) in total


def test_the_list_as_json(cache: DiskCache, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(run(capsys, "list", "--json"))
    assert answer["directory"] == str(cache.root)
    assert [entry["name"] for entry in answer["entries"]] == ["first", "second"]
    assert answer["entries"][0]["size"] == 2048


def test_the_size(cache: DiskCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "size", "--json"))["size"] == cache.size() > 2048
    assert "KiB in " in run(capsys, "size")


def test_clearing_one(cache: DiskCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "clear", "first", "--json"))["freed"] > 2048
    assert [entry.name for entry in cache.entries()] == ["second"]


def test_clearing_all(cache: DiskCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert "freed" in run(capsys, "clear")
    assert cache.entries() == []
    assert cache.size() == 0


def test_clearing_what_is_not_there(cache: DiskCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "clear", "third"]) == 2
    assert "'third' is not in the cache" in capsys.readouterr().err
    assert len(cache.entries()) == 2


def test_an_empty_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "nothing"))
    assert json.loads(run(capsys, "--json"))["entries"] == []
    assert run(capsys, "clear") == "0 B freed\n"
