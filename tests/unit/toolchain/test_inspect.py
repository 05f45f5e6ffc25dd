from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlr.formats.model_config import ModelConfig
from mlr_build.cli import main
from mlr_build.describe import kv_cache_bytes
from mlr_build.progress import human_bytes
from tests.support.tiny_models import tiny_gguf
from tests.unit.bundle.faulty_server import serve
from tests.unit.toolchain.conftest import Command
from tests.unit.toolchain.test_package import one_tensor


def inspect(path: object, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["inspect", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert isinstance(report, dict)
    return report


def test_a_source_and_its_bundle_agree(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["package", str(model), "--out", str(tmp_path / "bundle")]) == 0
    capsys.readouterr()
    source, bundle = inspect(model, capsys), inspect(tmp_path / "bundle", capsys)
    assert (source["kind"], bundle["kind"]) == ("source", "bundle")
    for key in (
        *("name", "architecture", "quantization", "parameters", "context_length"),
        *("vocabulary_size", "tensors", "license", "engines", "chat_template", "problem"),
    ):
        assert source[key] == bundle[key], key
    assert source["engines"] == ["kernel"]
    needs, bundled = source["requirements"], bundle["requirements"]
    assert isinstance(needs, dict)
    assert isinstance(bundled, dict)
    assert needs["download_bytes"] == model.stat().st_size
    assert bundled["download_bytes"] > needs["download_bytes"]
    assert needs["kv_cache_bytes"] == bundled["kv_cache_bytes"]
    assert inspect(tmp_path / "bundle" / "manifest.json", capsys)["name"] == bundle["name"]


def test_metadata_is_shown_and_long_values_are_shortened(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = inspect(model, capsys)["metadata"]
    assert isinstance(metadata, dict)
    assert metadata["general.architecture"] == "llama"
    assert metadata["tokenizer.ggml.tokens"] == "[600 items]"


def test_a_model_that_cannot_run_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = inspect(one_tensor(tmp_path / "m.gguf", "mamba"), capsys)
    assert report["engines"] == []
    assert report["architecture"] == "mamba"
    assert "architecture 'mamba' is not supported; supported" in str(report["problem"])
    assert main(["inspect", str(tmp_path / "m.gguf")]) == 0
    assert "It cannot be packaged" in capsys.readouterr().out


def test_tables_are_readable_without_a_terminal(mlr_build: Command, model: Path) -> None:
    done = mlr_build("inspect", model)
    assert done.returncode == 0, done.stderr
    for text in (
        "tiny-llama-q4_0: llama, Q4_0, ",
        "Engines that run it: kernel",
        "weights in memory",
        "KV cache, 512 tokens",
        "Q4_0",
        "general.architecture",
    ):
        assert text in done.stdout
    assert "\x1b[" not in done.stdout


def test_markup_in_metadata_is_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "[bold]evil[/bold]")
    writer.add_string("[link=http://x]key[/nothing]", "[red]value[/]")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert main(["inspect", str(tmp_path / "m.gguf")]) == 0
    shown = capsys.readouterr().out
    assert "[red]value[/]" in shown
    assert "[link=http://x]key[/nothing]" in shown


def test_a_model_on_the_web_is_inspected_by_its_header(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    large = tmp_path / "large.gguf"
    large.write_bytes(model.read_bytes() + bytes(20 << 20))
    sent = 0
    with serve(tmp_path) as server:
        report = inspect(server.url + "/large.gguf?token=secret", capsys)
        sent = len(server.requests)
    assert report["name"] == "tiny-llama-q4_0"
    assert report["engines"] == ["kernel"]
    assert "secret" not in json.dumps(report["origin"])
    assert sent < 10


def test_a_bundle_on_the_web(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["package", str(model), "--out", str(tmp_path / "bundle")]) == 0
    capsys.readouterr()
    with serve(tmp_path) as server:
        report = inspect(server.url + "/bundle/manifest.json", capsys)
        assert server.paths() == ["bundle/manifest.json"]
    assert report["kind"] == "bundle"


def test_the_kv_cache_of_sliding_layers_is_capped(tmp_path: Path) -> None:
    from mlr.formats.gguf import read_gguf
    from mlr.formats.source import FileSource

    path = tiny_gguf(tmp_path / "m.gguf", architecture="gemma3", quantization="Q8_0")
    with FileSource(path) as source:
        found = read_gguf(source)
    config = ModelConfig.from_gguf(found.metadata, {t.name: t.shape for t in found.tensors})
    per_token = 2 * config.n_kv_heads * config.head_dim * 2
    sliding = sum(config.slides(layer) for layer in range(config.n_layers))
    assert 0 < sliding < config.n_layers
    context = 4 * config.sliding_window
    expected = per_token * (sliding * config.sliding_window + (config.n_layers - sliding) * context)
    assert kv_cache_bytes(config, context) == expected
    assert kv_cache_bytes(config, 1) == per_token * config.n_layers


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (253113024, "253.1 MB"),
        (4 * 10**9, "4.0 GB"),
        (5 * 10**15, "5000.0 TB"),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text
