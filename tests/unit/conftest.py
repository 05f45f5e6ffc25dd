"""Fixtures of the unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_bert import tiny_bert, tiny_cross_encoder
from tests.support.tiny_models import tiny_gguf


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a tiny Llama with random weights: it loads at once and talks nonsense."""
    from mlr_build.cli import main

    folder = tmp_path_factory.mktemp("tiny")
    source = tiny_gguf(folder / "tiny.gguf", n_layers=1, context_length=8192)
    bundle = folder / "tiny"
    assert main(["package", str(source), "--out", str(bundle), "--name", "tiny"]) == 0
    return bundle


@pytest.fixture(scope="session")
def sliding_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Gemma 3: layers with a window of 16 tokens, so rings of 80."""
    from mlr_build.cli import main

    folder = tmp_path_factory.mktemp("sliding")
    source = tiny_gguf(folder / "sliding.gguf", architecture="gemma3")
    assert main(["package", str(source), "--out", str(folder / "b"), "--name", "sliding"]) == 0
    return folder / "b"


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights, as Hugging Face's libraries write it."""
    return tiny_bert(tmp_path_factory.mktemp("bert") / "tiny-bert")


@pytest.fixture(scope="session")
def bert_bundle(bert_folder: Path) -> Path:
    """Its bundle, with F32 weights."""
    from mlr_build.cli import main

    bundle = bert_folder.parent / "bundle"
    assert main(["package", str(bert_folder), "--quantize", "f32", "--out", str(bundle)]) == 0
    return bundle


@pytest.fixture(scope="session")
def ranking_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a tiny cross-encoder with random weights, in F32."""
    from mlr_build.cli import main

    folder = tmp_path_factory.mktemp("ranking")
    bundle = folder / "bundle"
    source = tiny_cross_encoder(folder / "tiny-ranker")
    assert main(["package", str(source), "--quantize", "f32", "--out", str(bundle)]) == 0
    return bundle
