"""Embeddings and rankings through the public face, on a tiny BERT with random weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Oracle

import mlr
from mlr.cli.main import main
from mlr.errors import ContextLengthError, RequestError
from tests.support.tiny_bert import TEXTS

LONG = "the cat sat on the mat " * 10


@pytest.fixture(scope="module")
def model(bert_bundle: Path) -> Iterator[mlr.SyncModel]:
    with mlr.load_sync(bert_bundle, threads=2) as loaded:
        yield loaded


def test_the_kernel_says_what_the_reference_says(model: mlr.SyncModel, bert_bundle: Path) -> None:
    """Packed beside each other or alone, a text's embedding is the same; both engines agree."""
    made = model.embed(TEXTS)
    assert len(made.vectors) == len(TEXTS)
    for text, vector in zip(TEXTS, made.vectors, strict=True):
        assert model.embed(text).vectors == [vector]
        assert math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-5)
    with mlr.load_sync(bert_bundle, engine="reference") as reference:
        expected = np.array(reference.embed(TEXTS).vectors)
    # The kernel's attention multiplies numbers of 16 bits, and here those given are below 1/2.
    assert np.abs(np.array(made.vectors) - expected).max() < 5e-4
    assert (np.array(made.vectors) * expected).sum(axis=1).min() > 0.99999


def test_more_texts_than_one_pass_takes(model: mlr.SyncModel) -> None:
    texts = [" ".join(["cat", "dog", "mat"][: i % 3 + 1] * (i % 5 + 1)) for i in range(200)]
    made = model.embed(texts)
    assert made.vectors[:3] == model.embed(texts[:3]).vectors
    assert made.vectors[-1:] == model.embed(texts[-1]).vectors
    assert made.tokens == sum(len(model.tokenize(text)) for text in texts)


def test_tokens_are_taken_as_they_are(model: mlr.SyncModel, bert_folder: Path) -> None:
    oracle = Oracle.from_file(str(bert_folder / "tokenizer.json"))
    ids = [oracle.encode(text).ids for text in TEXTS[:3]]
    assert model.embed(ids).vectors == model.embed(TEXTS[:3]).vectors


def test_long_texts_are_cut_and_said_to_be(model: mlr.SyncModel) -> None:
    """At the model's own limit of 24 tokens, [SEP] staying at the end."""
    made = model.embed(["a cat", LONG])
    assert made.truncated == (1,)
    ids = model.tokenize(LONG)
    assert made.vectors[1:] == model.embed([[*ids[:23], ids[-1]]]).vectors
    with pytest.raises(ContextLengthError, match=r"text 1 has 62 tokens; this model takes 24"):
        model.embed(["a cat", LONG], truncate=False)


def test_prompts(model: mlr.SyncModel) -> None:
    asked = model.embed("cat", prompt_name="query").vectors
    assert asked == model.embed("a query , cat").vectors != model.embed("cat").vectors
    with pytest.raises(RequestError, match="no prompt 'x'; this model's prompts: 'query'"):
        model.embed("cat", prompt_name="x")
    with pytest.raises(RequestError, match="there is no prompt"):
        model.embed("cat", prompt_name=["query"])


def test_ranking_is_by_cosine(model: mlr.SyncModel) -> None:
    documents = ["a dog", "the cat sat", LONG, "!"]
    made = model.rerank("cat", documents)
    query = np.array(model.embed("cat", prompt_name="query").vectors[0])
    cosines = [float(query @ np.array(v)) for v in model.embed(documents).vectors]
    assert [result.index for result in made.results] == sorted(
        range(4), key=lambda index: -cosines[index]
    )
    assert [result.score for result in made.results] == pytest.approx(sorted(cosines)[::-1])
    assert made.truncated == (2,)
    assert model.rerank("cat", []).results == []


def test_what_is_refused(model: mlr.SyncModel, tiny_bundle: Path, bert_bundle: Path) -> None:
    with pytest.raises(RequestError, match="length 1"):
        model.embed("cat", normalize=False)
    with pytest.raises(RequestError, match="text 1 has no tokens"):
        model.embed(["cat", []])
    with pytest.raises(RequestError, match="not in the vocabulary"):
        model.embed([[10**6]])
    kinds: list[Any] = [None, 5, b"cat"]
    for wrong in kinds:
        with pytest.raises(RequestError, match="texts must be a list"):
            model.embed(wrong)
    kinds = [[None], [5], [["cat"]], [[1.5]]]
    for wrong in kinds:
        with pytest.raises(RequestError, match="text 0 must be a text or token ids"):
            model.embed(wrong)
    with pytest.raises(RequestError, match="documents must be a list"):
        model.rerank("cat", "dog")
    with pytest.raises(RequestError, match="makes embeddings, and no text"):
        model.generate("cat")
    with pytest.raises(RequestError, match="can be mean or cls, not 'last'"):
        mlr.load_sync(bert_bundle, pooling="last")
    with mlr.load_sync(tiny_bundle) as decoder, pytest.raises(RequestError, match="pooling='last'"):
        decoder.embed("cat")


def test_a_decoder_whose_last_token_is_asked_for(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle, pooling="last") as model:
        made = np.array(model.embed(["the end", "on and on"]).vectors)
    with mlr.load_sync(tiny_bundle, pooling="last", engine="reference") as reference:
        expected = np.array(reference.embed(["the end", "on and on"]).vectors)
    # Weights and activations in 8 bits in one, whole numbers in the other.
    assert (made * expected).sum(axis=1) == pytest.approx([1.0, 1.0], abs=1e-3)


def test_another_pooling(bert_bundle: Path, model: mlr.SyncModel) -> None:
    with mlr.load_sync(bert_bundle, pooling="cls") as other:
        assert other.embed("cat").vectors != model.embed("cat").vectors


def test_the_command(
    bert_bundle: Path, model: mlr.SyncModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", str(bert_bundle), "a cat", LONG, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    made = model.embed(["a cat", LONG])
    assert answer == {
        "embeddings": made.vectors,
        "dimensions": 64,
        "tokens": made.tokens,
        "truncated": [1],
    }
    assert main(["embed", str(bert_bundle), "a cat", LONG]) == 0
    output = capsys.readouterr()
    lines = [[float(number) for number in line.split()] for line in output.out.splitlines()]
    assert np.allclose(lines, made.vectors, atol=1e-5)
    assert "text 2 was longer" in output.err
    assert main(["embed", str(bert_bundle), LONG, "--no-truncate"]) == 2


def test_the_command_with_a_decoder(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", str(tiny_bundle), "the end", "--json"]) == 2
    assert "--pooling last" in capsys.readouterr().err
    assert main(["embed", str(tiny_bundle), "the end", "--json", "--pooling", "last"]) == 0
    vectors = json.loads(capsys.readouterr().out)["embeddings"]
    with mlr.load_sync(tiny_bundle, pooling="last") as model:
        assert vectors == model.embed("the end").vectors
