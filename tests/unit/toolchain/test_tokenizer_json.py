"""GGUF's tokenizers as tokenizer.json: Hugging Face `tokenizers` gives the ids that mlr gives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Oracle

from mlr.tokenizer import Tokenizer, from_gguf, from_huggingface
from mlr.tokenizer.gguf_patterns import PRE_TOKENIZERS
from mlr.tokenizer.vocabulary import SPACE
from mlr_build.tokenizer_json import Inexact, convert, encode
from tests.parity.tokenizer.corpus import TEXTS
from tests.parity.tokenizer.vocabularies import CASES, metadata
from tests.support.tokenizer_json import whole_tokenizer_json
from tests.unit.tokenizer import samples

CONVERTED = [name for name, (vocabulary, _) in CASES.items() if vocabulary != "t5"]


def pair(fields: dict[str, Any]) -> tuple[Tokenizer, Oracle]:
    """The tokenizer of GGUF metadata, and the oracle's of its tokenizer.json."""
    return from_gguf(fields), Oracle.from_str(encode(whole_tokenizer_json(fields)).decode())


@pytest.mark.parametrize("case", CONVERTED)
def test_the_same_ids(case: str) -> None:
    tokenizer, oracle = pair(metadata(case))
    for name, text in TEXTS.items():
        if case == "bert" and SPACE in text:
            continue  # the one thing that is not the same
        ids = tokenizer.encode(text)
        assert oracle.encode(text).ids == ids, name
        plain = tokenizer.encode(text, add_special=False)
        assert oracle.encode(text, add_special_tokens=False).ids == plain, name


@pytest.mark.parametrize("case", ["spm", "spm-no-prefix", "gemma4", "bpe-qwen2", "bert"])
def test_the_same_text(case: str) -> None:
    tokenizer, oracle = pair(metadata(case))
    for name, text in TEXTS.items():
        ids = tokenizer.encode(text)
        assert oracle.decode(ids) == tokenizer.decode(ids), name


@pytest.mark.parametrize("case", ["spm", "gemma4", "bert", *CONVERTED[-6:]])
def test_the_same_ids_of_any_text(case: str) -> None:
    tokenizer, oracle = pair(metadata(case))
    words = sorted({word for text in TEXTS.values() for word in text.split(" ")})
    characters = st.characters(exclude_categories=["Cs", "Cn"])
    parts = st.one_of(st.sampled_from(words), st.text(characters, max_size=8))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(parts, max_size=8), st.sampled_from(["", " ", "\n"]))
    def check(found: list[str], between: str) -> None:
        text = between.join(found)
        if case == "bert":
            text = text.replace(SPACE, " ")
        assert oracle.encode(text).ids == tokenizer.encode(text)

    check()


def test_every_pattern_is_readable() -> None:
    """The patterns of all kinds, as the oracle's Oniguruma reads them."""
    fields = metadata("bpe-default")
    for name in PRE_TOKENIZERS:
        tokenizer, oracle = pair({**fields, "tokenizer.ggml.pre": name})
        for text in TEXTS.values():
            assert oracle.encode(text).ids == tokenizer.encode(text), name


def test_our_reader_reads_it_alike() -> None:
    fields = metadata("spm")
    tokenizer = from_gguf(fields)
    again = from_huggingface(whole_tokenizer_json(fields))
    for name, text in TEXTS.items():
        assert again.encode(text) == tokenizer.encode(text), name
    assert again.surroundings() == tokenizer.surroundings() == ([1], [])


def test_special_tokens_as_text() -> None:
    tokenizer, oracle = pair(metadata("spm"))
    oracle.encode_special_tokens = True
    text = "<s>a</s> <unk>"
    assert oracle.encode(text).ids == tokenizer.encode(text, parse_special=False)


def test_what_the_tables_have_is_left_out() -> None:
    fields = metadata("spm")
    content = convert(fields, from_gguf(fields))
    assert "added_tokens" not in content
    assert set(content["model"]).isdisjoint({"vocab", "merges"})
    assert len(encode(content)) < 1000


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (samples.t5(), "kind 't5' are not converted"),
        (samples.gguf_bpe(), "253 of the 256 bytes have no token"),
        (samples.bert(**{"normalizer.strip_accents": False}), "keeps accents"),
    ],
)
def test_what_cannot_be_said_exactly_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Inexact, match=reason):
        convert(fields, from_gguf(fields))


def with_added(*added: str) -> dict[str, Any]:
    """A vocabulary whose last tokens are these, added by the user."""
    fields = samples.spm()
    changes: dict[str, list[Any]] = {
        "tokens": list(added),
        "token_type": [4] * len(added),
        "scores": [0.0] * len(added),
    }
    for name, values in changes.items():
        fields[f"tokenizer.ggml.{name}"] = fields[f"tokenizer.ggml.{name}"] + values
    return fields


def test_added_tokens_that_are_cut_alike() -> None:
    tokenizer, oracle = pair(with_added("\n", "\n\n", "\n\n\n", "[a]", "[a][b"))
    for text in ("\n" * 7, "a\n\n\n\nb", "\n", "x[a][b]b[a"):
        assert oracle.encode(text).ids == tokenizer.encode(text)


def test_added_tokens_that_overlap() -> None:
    fields = with_added("(x)", "))")
    with pytest.raises(Inexact, match=r"'\(x\)' and '\)\)' can overlap"):
        convert(fields, from_gguf(fields))
