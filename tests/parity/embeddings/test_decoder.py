"""A decoder whose last token's state is the embedding, as Qwen3-Embedding, against transformers.

The states are those after the last norm, of length 1. transformers computes in float64; the
reference engine differs by float32's rounding, the kernel by attention in 16 bits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mlr
from mlr_build.cli import main
from tests.support.convert.files import write_gguf
from tests.support.convert.models import MODELS, random_model

pytestmark = pytest.mark.oracle

TEXTS = ["the end", "on and on and on", "a", "There is the inn in the north, and the other.", "é"]


@pytest.mark.parametrize(("engine", "tolerance"), [("reference", 1e-5), ("kernel", 2e-3)])
def test_embeddings(engine: str, tolerance: float, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    module = random_model("qwen3-embedding")
    source = write_gguf(tmp_path / "model.gguf", MODELS["qwen3-embedding"], module)
    assert main(["package", str(source), "--out", str(tmp_path / "out"), "--name", "tiny"]) == 0
    with mlr.load_sync(tmp_path / "out", engine=engine) as model:
        made = np.array(model.embed(TEXTS).vectors)
        ids = [model.tokenize(text) for text in TEXTS]
        ranking = model.rerank(TEXTS[0], TEXTS[1:])
    with torch.no_grad():
        states = [module(torch.tensor([row])).last_hidden_state[0, -1].numpy() for row in ids]
    expected = np.array([state / np.linalg.norm(state) for state in states])
    assert np.abs(made - expected).max() < tolerance
    cosines = expected[1:] @ expected[0]
    assert np.diff(np.sort(cosines)).min() > tolerance
    assert [ranked.index for ranked in ranking.results] == list(np.argsort(-cosines))
