"""Id for id what Hugging Face `tokenizers` gives, from the same tokenizer.json."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from mlr.tokenizer import Tokenizer, from_huggingface
from tests.parity.tokenizer.corpus import TEXTS
from tests.parity.tokenizer.trained import NAMES, trained


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Tokenizer]:
    oracle = trained(request.param)
    return oracle, from_huggingface(json.loads(oracle.to_str()))


def test_encodes_the_same_ids(pair: tuple[Any, Tokenizer]) -> None:
    oracle, tokenizer = pair
    for name, text in TEXTS.items():
        assert tokenizer.encode(text) == oracle.encode(text).ids, name
        plain = oracle.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, add_special=False) == plain, name


def test_encodes_special_tokens_as_text_when_asked(pair: tuple[Any, Tokenizer]) -> None:
    oracle, tokenizer = pair
    oracle.encode_special_tokens = True
    try:
        for name, text in TEXTS.items():
            assert tokenizer.encode(text, parse_special=False) == oracle.encode(text).ids, name
    finally:
        oracle.encode_special_tokens = False


def test_decodes_to_the_same_text(pair: tuple[Any, Tokenizer]) -> None:
    oracle, tokenizer = pair
    for name, text in TEXTS.items():
        ids = oracle.encode(text).ids
        if not ids:
            continue
        for skip in (True, False):
            expected = oracle.decode(ids, skip_special_tokens=skip)
            assert tokenizer.decode(ids, skip_special=skip) == expected, name


def test_decodes_random_ids_to_the_same_text(pair: tuple[Any, Tokenizer]) -> None:
    oracle, tokenizer = pair
    draw = random.Random(2)
    for _ in range(200):
        ids = [draw.randrange(tokenizer.vocabulary_size) for _ in range(draw.randint(1, 12))]
        assert tokenizer.decode(ids, skip_special=False) == oracle.decode(
            ids, skip_special_tokens=False
        )


def test_random_texts_encode_the_same(pair: tuple[Any, Tokenizer]) -> None:
    oracle, tokenizer = pair
    draw = random.Random(3)
    alphabet = sorted(set("".join(TEXTS.values())))
    words = " ".join(TEXTS.values()).split(" ")
    for _ in range(150):
        if draw.random() < 0.5:
            text = "".join(draw.choices(alphabet, k=draw.randint(1, 40)))
        else:
            text = draw.choice(["", " ", "\n"]).join(draw.choices(words, k=draw.randint(1, 12)))
        assert tokenizer.encode(text) == oracle.encode(text).ids, repr(text)
