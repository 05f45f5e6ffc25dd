"""`mlr-build worker`: what is written, and what is refused with which numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mlr_build import edge_limits
from mlr_build import worker as worker_module
from mlr_build.bundle_copy import read_bundle
from mlr_build.cli import main
from mlr_build.edge_limits import MEMORY_LIMIT, predict_memory
from tests.support.bundles import package as package_bundle
from tests.support.tiny_bert import tiny_cross_encoder


@pytest.fixture(autouse=True)
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in the built one's place, so that no build is needed here."""
    path = tmp_path / "worker.js"
    path.write_text("export default {};")
    monkeypatch.setattr(worker_module, "SCRIPT", path)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A tiny Llama in several shards."""
    return package_bundle(tmp_path, quantization="Q8_0", context_length=4096, shard_size=9 * 65536)


def run(bundle: Path, out: Path, *options: str) -> int:
    """The command, in this process."""
    return main(["worker", str(bundle), "--out", str(out), *options])


def error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_the_project(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(bundle, out) == 0
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    shards = {f"public/shards/{path.name}" for path in (bundle / "shards").iterdir()}
    assert len(shards) > 1
    assert files == shards | {
        ".gitignore",
        "README.md",
        "package.json",
        "public/manifest.json",
        "public/tokenizer.bin",
        "public/tokenizer_hf.json",
        "src/kernel-relaxed.wasm",
        "src/worker.js",
        "wrangler.jsonc",
    }
    for shard in shards:
        name = Path(shard).name
        assert (out / shard).read_bytes() == (bundle / "shards" / name).read_bytes()
    assert read_bundle(out / "public") == read_bundle(bundle)
    assert json.loads((out / "package.json").read_bytes())["devDependencies"]["wrangler"]
    readme = (out / "README.md").read_text()
    assert "POST /v1/completions" in readme
    assert "r2" not in readme


def test_weights_in_a_bucket(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(bundle, out, "--weights", "r2") == 0
    assert not (out / "public" / "shards").exists()
    names = {path.name for path in (bundle / "shards").iterdir()}
    assert {path.name for path in (out / "bucket" / "shards").iterdir()} == names
    assert (
        '"r2_buckets": [{"binding": "WEIGHTS", "bucket_name": "tiny"}]'
        in (out / "wrangler.jsonc").read_text()
    )
    assert "r2 bucket create tiny" in (out / "README.md").read_text()


def test_a_smaller_context_is_suggested_where_it_helps(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = read_bundle(bundle)
    fits = predict_memory(manifest, manifest.variants[0], 1024)
    monkeypatch.setattr(edge_limits, "MEMORY_LIMIT", fits.total)
    assert run(bundle, tmp_path / "out") == 6
    message = error(capsys)
    needs = predict_memory(manifest, manifest.variants[0], None)
    assert f"{(needs.total - fits.total) / 1e6:.1f} MB more than the" in message
    assert message.endswith("use --context-length 1024")
    assert run(bundle, tmp_path / "out", "--context-length", "1024") == 0
    monkeypatch.setattr(edge_limits, "MEMORY_LIMIT", 1_000_000)
    assert run(bundle, tmp_path / "other") == 6
    assert "no context length makes it fit" in error(capsys)


def test_the_prediction_adds_up(bundle: Path) -> None:
    manifest = read_bundle(bundle)
    memory = predict_memory(manifest, manifest.variants[0], 512)
    assert memory.kernel >= memory.weights + memory.kv_cache + memory.scratch
    assert memory.kernel % 65536 == 0
    assert memory.total == memory.kernel + memory.tokenizer + memory.script < MEMORY_LIMIT


def test_what_is_too_large_for_an_asset(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge_limits, "MAX_ASSET", 400_000)
    assert run(bundle, tmp_path / "out") == 6
    assert re.search(r"shards/\S+ has 589\.8 kB, and an asset may have 400\.0 kB", error(capsys))
    assert run(bundle, tmp_path / "out", "--weights", "r2") == 0


def test_a_script_that_is_too_large(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge_limits, "MAX_SCRIPT_PAID", 1000)
    assert run(bundle, tmp_path / "out") == 6
    assert "1.0 kB are allowed" in error(capsys)


def test_other_refusals(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], script: Path
) -> None:
    assert run(bundle, tmp_path / "out", "--context-length", "5000") == 2
    assert "between 1 and the model's 4096" in error(capsys)
    assert run(bundle, bundle, "--force") == 2
    assert "is not a Worker project" in error(capsys)
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_bytes())
    path.write_text(json.dumps(manifest | {"tokenizer_json": None}))
    assert run(bundle, tmp_path / "out") == 4
    assert "a tokenizer that JavaScript does not read" in error(capsys)
    path.write_text(json.dumps(manifest))
    next((bundle / "shards").iterdir()).unlink()
    assert run(bundle, tmp_path / "out") == 3
    script.unlink()
    assert run(bundle, tmp_path / "out") == 1
    assert "make page" in error(capsys)
    assert not (tmp_path / "out").exists()


def test_a_model_that_ranks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tiny_cross_encoder(tmp_path / "source")
    assert main(["package", str(source), "--out", str(tmp_path / "ranker")]) == 0
    assert run(tmp_path / "ranker", tmp_path / "out") == 4
    assert "ranks pairs of texts" in error(capsys)
