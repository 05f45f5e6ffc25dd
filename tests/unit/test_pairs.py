"""Pairs of texts: how they are cut and joined, and what a model that ranks makes of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Oracle

import mlr
from mlr.errors import ContextLengthError, RequestError
from mlr.pairs import join_pair
from mlr.tokenizer import load_tokenizer
from mlr.tokenizer.huggingface import from_huggingface
from tests.support.tiny_bert import TEXTS, tiny_cross_encoder

LONG = "the cat sat on the mat " * 10
DOCUMENTS = ["a dog", "the cat sat", LONG, "!", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cross_encoder(tmp_path_factory.mktemp("pairs") / "model")


@pytest.fixture(scope="module")
def model(ranking_bundle: Path) -> Iterator[mlr.SyncModel]:
    with mlr.load_sync(ranking_bundle, threads=2) as loaded:
        yield loaded


def test_pairs_are_cut_and_joined_as_tokenizers_does(folder: Path) -> None:
    data = (folder / "tokenizer.json").read_bytes()
    ours, oracle = load_tokenizer("huggingface", data), Oracle.from_str(data.decode())
    texts = [*TEXTS, "cat " * 13, "dog " * 14, "mat " * 15]
    for longest in (5, 12, 31, 40, 500):
        oracle.enable_truncation(longest, strategy="longest_first")
        for first, second in itertools.product(texts, texts):
            expected = oracle.encode(first, second)
            pair = join_pair(
                ours.pair_surroundings(),
                ours.encode(first, add_special=False),
                ours.encode(second, add_special=False),
                longest,
            )
            assert pair.ids == expected.ids, (longest, first, second)
            types = [int(index >= pair.second) for index in range(len(pair.ids))]
            assert types == expected.type_ids
            assert (pair.length > longest) == bool(expected.overflowing)


@pytest.mark.parametrize(
    "processor",
    [
        {
            "type": "RobertaProcessing",
            "sep": ["b", 1],
            "cls": ["a", 0],
            "trim_offsets": True,
            "add_prefix_space": True,  # else it is read as BERT's
        },
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                {"SpecialToken": {"id": "a", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "b", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
                {"SpecialToken": {"id": "a", "type_id": 1}},
            ],
            "special_tokens": {
                "a": {"id": "a", "ids": [0], "tokens": ["a"]},
                "b": {"id": "b", "ids": [1, 0], "tokens": ["b", "a"]},
            },
        },
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_what_belongs_around_two_texts(processor: dict[str, Any], nested: bool) -> None:
    if nested:
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
        processor = {"type": "Sequence", "processors": [byte_level, processor]}
    content: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": processor,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3}, "merges": []},
    }
    before, between, after = from_huggingface(content).pair_surroundings()
    oracle = Oracle.from_str(json.dumps(content))
    assert [*before, 2, *between, 3, *after] == oracle.encode("c", "d").ids


def test_a_tokenizer_without_pairs() -> None:
    content = {
        "added_tokens": [],
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
    }
    with pytest.raises(RequestError, match="how two texts go together"):
        from_huggingface(content).pair_surroundings()


def test_the_kernel_ranks_as_the_reference_does(model: mlr.SyncModel, ranking_bundle: Path) -> None:
    made = model.rerank("a cat", DOCUMENTS)
    with mlr.load_sync(ranking_bundle, engine="reference") as reference:
        expected = reference.rerank("a cat", DOCUMENTS)
    assert [ranked.index for ranked in made.results] == [r.index for r in expected.results]
    scores = [ranked.score for ranked in made.results]
    # The kernel's attention multiplies numbers of 16 bits.
    assert scores == pytest.approx([r.score for r in expected.results], abs=1e-3)
    assert scores == sorted(scores, reverse=True)
    assert max(scores) - min(scores) > 0.01
    assert all(0.0 < score < 1.0 for score in scores)
    assert (made.tokens, made.truncated) == (expected.tokens, (2,))
    assert made.tokens == 3 * 5 + 2 * 5 + 2 + 3 + (32 - 5) + 1


def test_pairs_beside_each_other_are_what_they_are_alone(model: mlr.SyncModel) -> None:
    together = {r.index: r.score for r in model.rerank("a cat", DOCUMENTS * 20).results}
    for index, document in enumerate(DOCUMENTS):
        (alone,) = model.rerank("a cat", [document]).results
        assert together[index] == together[index + 5 * 19] == alone.score


def test_ids_are_texts_without_special_tokens(model: mlr.SyncModel) -> None:
    around = model.tokenize("")
    ids = [model.tokenize(text)[1:-1] for text in ("a cat", "the cat sat")]
    assert len(around) == 2
    assert model.rerank(ids[0], ids[1:]).results == model.rerank("a cat", ["the cat sat"]).results


def test_what_is_refused(model: mlr.SyncModel) -> None:
    with pytest.raises(ContextLengthError, match=r"text 1 has 65 tokens with the query"):
        model.rerank("a cat", ["a dog", LONG], truncate=False)
    with pytest.raises(RequestError, match="it ranks pairs of texts"):
        model.embed("a cat")
    with pytest.raises(RequestError, match="not in the vocabulary"):
        model.rerank([10**6], ["a"])
    assert model.rerank("a cat", []).results == []
