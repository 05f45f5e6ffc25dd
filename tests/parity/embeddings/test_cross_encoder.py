"""A cross-encoder with random weights against sentence-transformers' own.

It is a folder as transformers writes it, and as sentence-transformers does. The scores are
probabilities. The reference engine differs by float32's rounding alone; the kernel rounds
what attention multiplies to 16 bits (measured: up to 7e-4). What other weight types do to a score
is held to the reference engine in tests/parity/engines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mlr
from mlr_build.cli import main
from tests.support.tiny_bert import TEXTS, tiny_cross_encoder

pytestmark = pytest.mark.oracle

LONG = "the cat sat on the mat " * 10
DOCUMENTS = [*TEXTS, "a dog", "mats, runs.", LONG]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Path]]:
    theirs = pytest.importorskip(
        "sentence_transformers", reason="sentence-transformers is not installed"
    )
    place = tmp_path_factory.mktemp("ranking")
    folders = {"transformers": tiny_cross_encoder(place / "a"), "theirs": place / "b"}
    encoder = theirs.CrossEncoder(str(folders["transformers"]), device="cpu")
    encoder.save_pretrained(str(folders["theirs"]))
    assert (folders["theirs"] / "modules.json").is_file()
    return encoder, folders


@pytest.mark.parametrize(
    ("folder", "engine", "tolerance"),
    [
        ("transformers", "reference", 1e-5),
        ("transformers", "kernel", 2e-3),
        ("theirs", "kernel", 2e-3),
    ],
)
def test_scores(
    oracle: tuple[Any, dict[str, Path]],
    tmp_path: Path,
    folder: str,
    engine: str,
    tolerance: float,
) -> None:
    encoder, folders = oracle
    options = ["--quantize", "f32", "--out", str(tmp_path / "out"), "--name", "ranker"]
    assert main(["package", str(folders[folder]), *options]) == 0
    with mlr.load_sync(tmp_path / "out", engine=engine) as model:
        for query in ("a cat", "", LONG):
            expected = encoder.predict([(query, document) for document in DOCUMENTS])
            assert expected.max() - expected.min() > 0.05
            found = {r.index: r.score for r in model.rerank(query, DOCUMENTS).results}
            scores = [found[index] for index in range(len(DOCUMENTS))]
            assert scores == pytest.approx(list(expected), abs=tolerance)
