"""`mlr-build site`: what is written, and what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlr_build import site as site_module
from tests.unit.toolchain.conftest import Command

PAGE_FILES = ("index.html", "mlr.js", "site/site.js", "site/service-worker.js", "pyodide/a.wasm")


@pytest.fixture(autouse=True)
def page(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page with the built one's names, so that no build is needed here."""
    folder = tmp_path / "page"
    for name in PAGE_FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    (folder / "index.html").write_text('<head><meta charset="utf-8" /><title>t</title></head>')
    monkeypatch.setattr(site_module, "_PAGE", folder)
    return folder


@pytest.fixture
def bundle(tmp_path: Path, model: Path, mlr_build: Command) -> Path:
    """A bundle of the tiny model."""
    assert mlr_build("package", model, "--out", tmp_path / "tiny").returncode == 0
    return tmp_path / "tiny"


def run(*arguments: str | Path) -> int:
    """The command in this process, where the page has been replaced."""
    from mlr_build.cli import main

    return main([*map(str, arguments)])


def kept(out: Path) -> dict[str, object]:
    """What the service worker keeps."""
    line = (out / "service-worker.js").read_text().partition("\n")[0]
    found = re.fullmatch(r"const SITE = (.*);", line)
    assert found
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def test_the_worker_keeps_what_the_page_reads_but_weights(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("site", bundle, "--out", out, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    shards = {file for file in files if "/shards/" in file}
    assert shards
    name = report["bundles"][0]
    listed = kept(out)["files"]
    assert isinstance(listed, list)
    other = {"_headers", ".nojekyll", "service-worker.js"}
    other.add(f"bundles/{name}/tokenizer_hf.json")  # for clients without Python
    assert other < files
    assert set(listed) == files - shards - other
    assert {"index.html", "site.js", "mlr.js", f"bundles/{name}/manifest.json"} <= set(listed)
    assert report["size"] == sum((out / file).stat().st_size for file in files)
    assert report["first_visit"] == sum((out / file).stat().st_size for file in listed)
    bundles = json.loads((out / "bundles.json").read_bytes())
    assert bundles[0]["url"] == f"bundles/{name}/", "relative: the site may lie under any path"
    for file in (bundle / "shards").iterdir():
        copy = out / "bundles" / name / "shards" / file.name
        assert copy.read_bytes() == file.read_bytes()


def test_files_are_utf8_whatever_the_locale(bundle: Path, tmp_path: Path, page: Path) -> None:
    index = page / "index.html"
    index.write_text(index.read_text() + "Größe – 世界", encoding="utf-8")
    program = (
        "import sys, pathlib, mlr_build.site as site, mlr_build.cli as cli\n"
        f"site._PAGE = pathlib.Path({str(page)!r})\n"
        f"sys.exit(cli.main(['site', {str(bundle)!r}, '--out', {str(tmp_path / 'out')!r}]))"
    )
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **ascii_only}, check=True)
    assert "Größe – 世界" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_the_version_follows_the_content(bundle: Path, tmp_path: Path, page: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    for out in (first, again):
        assert run("site", bundle, "--out", out) == 0
    (page / "mlr.js").write_text("changed")
    assert run("site", bundle, "--out", other) == 0
    assert kept(first)["version"] == kept(again)["version"] != kept(other)["version"]


def test_the_page_says_its_policy_before_any_script(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("site", bundle, "--out", out) == 0
    index = (out / "index.html").read_text()
    policy = index.index("script-src 'self' 'wasm-unsafe-eval'")
    assert index.index('<meta charset="utf-8" />') < policy < index.index("site.js")
    assert "frame-ancestors" not in index, "a page cannot say this of itself"
    headers = (out / "_headers").read_text()
    assert "cross-origin-embedder-policy: require-corp" in headers


def test_a_damaged_bundle_makes_no_site(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = next((bundle / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert run("site", bundle, "--out", tmp_path / "out") == 3
    assert shard.name in capsys.readouterr().err
    shard.unlink()
    assert run("site", bundle, "--out", tmp_path / "out") != 0
    assert "missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.glob(".out*")] == []


def test_what_is_in_the_way_stays(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("site", tmp_path, "--out", tmp_path / "out") != 0
    assert "is not a bundle" in capsys.readouterr().err
    assert run("site", bundle, "--out", bundle, "--force") == 2
    assert "is not a site" in capsys.readouterr().err
    assert run("site", bundle, bundle, "--out", tmp_path / "out") == 2
    assert "same name" in capsys.readouterr().err
    out = tmp_path / "out"
    assert run("site", bundle, "--out", out) == 0
    assert run("site", bundle, "--out", out) == 2
    assert run("site", bundle, "--out", out, "--force") == 0
