"""Id for id what llama.cpp gives, from the same GGUF metadata.

llama.cpp is only there in `make test-oracles`, so its answers are kept in golden/ (see
make_golden.py) and compared here; the tests marked `oracle` ask it again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlr.tokenizer import Tokenizer, from_gguf, load_tokenizer
from mlr_build.packed_tokenizer import pack_tokenizer
from tests.parity.tokenizer.vocabularies import (
    CASES,
    TEXTS,
    digest,
    metadata,
    results_file,
    write_gguf,
)


def demo_metadata(path: Path) -> dict[str, Any]:
    from mlr.formats.gguf import read_gguf
    from mlr.formats.source import FileSource

    with FileSource(path) as source:
        return read_gguf(source).metadata


def packed(fields: dict[str, Any]) -> Tokenizer:
    """The tokenizer as bundles have it."""
    return load_tokenizer("packed", pack_tokenizer(fields))


def check_golden(case: str, tokenizer: Tokenizer) -> None:
    results = json.loads(results_file().read_text())[case]
    for name, text in TEXTS.items():
        found = [digest(tokenizer.encode(text, parse_special=parse)) for parse in (True, False)]
        assert found == results[name], name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("make", [from_gguf, packed])
def test_encodes_as_llama_cpp_did(case: str, make: Callable[[Any], Tokenizer]) -> None:
    check_golden(case, make(metadata(case)))


@pytest.mark.parametrize("make", [from_gguf, packed])
def test_the_demo_model_encodes_as_llama_cpp_did(
    demo_gguf: Path, make: Callable[[Any], Tokenizer]
) -> None:
    check_golden("demo", make(demo_metadata(demo_gguf)))


def compare_live(path: Path, fields: dict[str, Any]) -> None:
    from tests.parity.tokenizer.llama_cpp_oracle import LlamaCppVocabulary

    tokenizer = packed(fields)
    draw = random.Random(5)
    words = " ".join(TEXTS.values()).split(" ")
    texts = list(TEXTS.values())
    texts += [" ".join(draw.choices(words, k=draw.randint(1, 20))) for _ in range(100)]
    texts += ["".join(draw.choices(words, k=draw.randint(1, 20))) for _ in range(100)]
    with LlamaCppVocabulary(path) as oracle:
        for text in texts:
            for parse in (True, False):
                expected = oracle.encode(text, add_special=True, parse_special=parse)
                assert tokenizer.encode(text, parse_special=parse) == expected, repr(text)
            plain = oracle.encode(text, add_special=False, parse_special=True)
            if fields["tokenizer.ggml.model"] != "bert":
                assert tokenizer.encode(text, add_special=False) == plain, repr(text)
        ids = range(0, oracle.size, 1 + oracle.size // 5000)
        for token_id in ids:
            assert tokenizer.token_bytes(token_id) == oracle.token_bytes(token_id, special=True)
            if fields["tokenizer.ggml.model"] != "bert":  # an encoder; nothing is generated
                assert (token_id in tokenizer.end_ids) == oracle.is_end(token_id)


@pytest.mark.oracle
@pytest.mark.parametrize("case", CASES)
def test_encodes_as_llama_cpp_does(case: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    write_gguf(path, metadata(case))
    compare_live(path, metadata(case))


@pytest.mark.oracle
def test_scores_in_any_order(tmp_path: Path) -> None:
    fields = metadata("spm")
    scores = list(fields["tokenizer.ggml.scores"])
    random.Random(2).shuffle(scores)
    fields["tokenizer.ggml.scores"] = scores
    path = tmp_path / "vocabulary.gguf"
    write_gguf(path, fields)
    compare_live(path, fields)


@pytest.mark.oracle
def test_the_demo_model_encodes_as_llama_cpp_does(demo_gguf: Path) -> None:
    compare_live(demo_gguf, demo_metadata(demo_gguf))
