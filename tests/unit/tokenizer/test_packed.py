"""Packed tokenizers: what the listed ones give, and an error for whatever is broken."""

from __future__ import annotations

import random
from binascii import crc32
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.errors import TokenizerError
from mlr.tokenizer import from_gguf, load_tokenizer
from mlr.tokenizer.models.bpe import ListedMerges
from mlr.tokenizer.packed import (
    MAGIC,
    SECTIONS,
    START,
    PackedMerges,
    PackedScores,
    PackedVocabulary,
    read_packed,
)
from mlr.tokenizer.vocabulary import ListedVocabulary
from mlr_build.packed_tokenizer import pack_tokenizer
from tests.support.packed import BROKEN, changed, gguf, put_together, sample, taken_apart
from tests.unit.tokenizer import samples

KINDS = {"spm": samples.spm, "bpe": samples.gguf_bpe, "bert": samples.bert, "t5": samples.t5}
TEXT = "ab▁ab abé <s>\n😀 hello, b"


def packed_vocabulary(tokens: list[str]) -> PackedVocabulary:
    vocabulary = read_packed(pack_tokenizer(gguf(tokens)))["tokenizer.ggml.tokens"]
    assert isinstance(vocabulary, PackedVocabulary)
    return vocabulary


texts = st.text(st.sampled_from("ab▁é😀\0\n\U0010ffff"), max_size=4)
long_texts = st.builds(str.__mul__, texts, st.sampled_from([1, 90, 255, 4000]))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(texts, min_size=1, max_size=60, unique=True)
    | st.lists(long_texts, min_size=1, max_size=20, unique=True),
    st.lists(texts, max_size=20),
)
def test_a_vocabulary_is_the_plain_one(tokens: list[str], others: list[str]) -> None:
    plain = ListedVocabulary.from_list(tokens, "test")
    packed = packed_vocabulary(tokens)
    assert len(packed) == len(plain)
    assert list(packed.texts()) == list(plain.texts()) == list(map(packed.text, range(len(packed))))
    assert packed.before_space() == plain.before_space()
    for text in [*tokens, *others, "\ud800", "a\udfff"] * 2:  # found, and remembered
        assert packed.find(text) == plain.find(text)


def test_a_large_vocabulary_is_found_whole() -> None:
    tokens = [f"{number:x}" for number in range(70_000)]
    packed = packed_vocabulary(tokens)
    assert list(map(packed.find, tokens)) == list(range(70_000))
    assert packed.find("x") is None
    assert packed.find("") is None


def test_many_tokens_in_a_bucket() -> None:
    # of 128, which there are for up to 256 tokens
    full = [text for i in range(60_000) if crc32((text := f"{i}").encode()) % 128 == 5]
    packed = packed_vocabulary(full[:255])
    assert list(map(packed.find, full[:300])) == [*range(255), *[None] * 45]
    with pytest.raises(TokenizerError, match="more than 255 tokens have one hash"):
        packed_vocabulary(full[:256])


def test_tokens_without_a_text() -> None:
    packed = packed_vocabulary(["", "a", "", ""])
    assert len(packed) == 4
    assert packed.find("") is None
    assert list(packed.texts()) == ["", "a", "", ""]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlr.tokenizer.packed._MAX_REMEMBERED", 3)
    tokens = list("abcdefgh")
    packed = packed_vocabulary(tokens)
    for _ in range(3):
        assert list(map(packed.find, tokens)) == list(range(8))
    assert len(packed.find.__self__) <= 3  # type: ignore[attr-defined]


def test_merges_are_the_plain_ones() -> None:
    draw = random.Random(7)
    tokens = [left + right for left in ["", *"abcd"] for right in "abcd"]
    singles = list("abcd")
    pairs = [f"{draw.choice(singles)} {draw.choice(singles)}" for _ in range(12)]  # some twice
    fields = gguf(tokens, model="gpt2", merges=pairs)
    packed = read_packed(pack_tokenizer(fields))["tokenizer.ggml.merges"]
    assert isinstance(packed, PackedMerges)
    vocabulary = ListedVocabulary.from_list(tokens, "test")
    plain = ListedMerges.read(pairs, vocabulary, "", "test", first=True)
    for left in [*tokens, "x"]:
        for right in [*tokens, "x"]:
            assert packed.rank(left, right) == plain.rank(left, right)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same(kind: str) -> None:
    fields = KINDS[kind]()
    listed, packed = from_gguf(fields), load_tokenizer("packed", pack_tokenizer(fields))
    for text in (TEXT, "", "ab" * 200):
        assert packed.encode(text) == listed.encode(text)
    ids = list(range(listed.vocabulary_size))
    assert packed.decode(ids, skip_special=False) == listed.decode(ids, skip_special=False)
    assert [packed.piece(i) for i in ids] == [listed.piece(i) for i in ids]
    assert [packed.token_bytes(i) for i in ids] == [listed.token_bytes(i) for i in ids]
    assert (packed.end_ids, packed.hidden_ids) == (listed.end_ids, listed.hidden_ids)
    assert packed.token_id("ab") == listed.token_id("ab")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_cut_is_an_error(kind: str) -> None:
    data = pack_tokenizer(KINDS[kind]())
    for size in range(len(data)):
        with pytest.raises(TokenizerError):
            load_tokenizer("packed", data[:size])


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_byte_is_an_error_or_another_tokenizer(kind: str) -> None:
    data = pack_tokenizer(KINDS[kind]())
    draw = random.Random(3)
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] = draw.choice([0, 1, 0x80, 0xFF, broken[place] ^ 1 << draw.randrange(8)])
        try:
            tokenizer = load_tokenizer("packed", bytes(broken))
            ids = tokenizer.encode(TEXT)
        except TokenizerError:
            continue
        assert all(0 <= token_id < tokenizer.vocabulary_size for token_id in ids)
        tokenizer.decode(range(tokenizer.vocabulary_size), skip_special=False)


def test_changing_nothing_changes_nothing() -> None:
    data = pack_tokenizer(samples.spm())
    assert load_tokenizer("packed", changed(data, {}, {})).encode("ab") == from_gguf(
        samples.spm()
    ).encode("ab")


@pytest.mark.parametrize(
    ("header", "sections", "message"),
    [
        ({"metadata": []}, {}, "lacks the metadata"),
        ({"before_space": 5}, {}, "lacks the metadata"),
        *BROKEN,
    ],
)
def test_parts_that_do_not_fit(
    header: dict[str, Any], sections: dict[str, bytes], message: str
) -> None:
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer("packed", changed(sample(), header, sections))


def test_a_file_of_another_version() -> None:
    data = bytearray(pack_tokenizer(samples.spm()))
    data[len(MAGIC) - 1] -= 1
    with pytest.raises(TokenizerError, match="make the bundle anew"):
        load_tokenizer("packed", bytes(data))


def test_what_is_wider_than_a_byte_is_aligned() -> None:
    for make in KINDS.values():
        data = pack_tokenizer(make())
        start = START
        for name, part in taken_apart(data)[1].items():
            assert SECTIONS[name] == "B" or start % 4 == 0, name
            assert name != "lengths" or start % 2 == 0
            start += len(part)


def test_a_section_that_no_kind_asks_for_is_left_out() -> None:
    fields = samples.spm(merges=["a b"]), samples.gguf_bpe(scores=[0.0] * 7)
    kept = [set(taken_apart(pack_tokenizer(one))[1]) & {"scores", "merges"} for one in fields]
    assert kept == [{"scores"}, {"merges"}]


def packed_scores(scores: list[float], model: str = "llama") -> PackedScores:
    """Those of a packed file, which lists as many as it must."""
    fields = gguf([f"{i:x}" for i in range(len(scores))], model=model, scores=scores)
    packed = read_packed(pack_tokenizer(fields))["tokenizer.ggml.scores"]
    assert isinstance(packed, PackedScores)
    assert list(packed) == [packed[i] for i in range(len(scores))]
    return packed


def listed(packed: PackedScores) -> int:
    return len(packed._listed)


def test_scores_of_sentencepiece_are_numbers_in_their_order() -> None:
    packed = packed_scores([-2.5, 1e30, -2.5, -1e-30, -7.0])
    assert list(packed) == [0, 2, 0, 1, -1]
    assert listed(packed) == 4


def test_scores_that_fall_with_the_id_are_left_out() -> None:
    gemma = [-1000.0] * 3 + [0.0] * 4 + [-float(i) for i in range(2000)] + [-1000.0] * 2
    packed = packed_scores(gemma)
    assert listed(packed) == 3 + 4 + 2
    assert packed[3] == packed[6] == packed[7] == -7
    assert packed[0] == packed[1007] == packed[2008] == -1007


@settings(max_examples=300)
@given(st.lists(st.integers(-9, 0) | st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_scores_stay_in_their_order(scores: list[float]) -> None:
    """Any, and any after which a vocabulary goes on as Llama 2's does."""
    for tried in (scores or [0.0], scores + [-float(i) for i in range(9)]):
        packed = list(packed_scores(tried))
        assert all(score == int(score) for score in packed)
        for a, b in product(range(len(tried)), repeat=2):
            assert (packed[a] < packed[b]) == (tried[a] < tried[b])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, -1.0, -2.0, -2.5, -6.0, 3.0]), min_size=9, max_size=9))
def test_any_scores_merge_as_listed_ones(scores: list[float]) -> None:
    """Of pieces, and of what users defined, which merges where spaces become `▁`."""
    base = samples.spm()
    fields = samples.spm(
        tokens=[*base["tokenizer.ggml.tokens"], "▁▁", "ba"],
        token_type=[*base["tokenizer.ggml.token_type"], 4, 1],
        scores=[*base["tokenizer.ggml.scores"][:-7], *scores],
    )
    listed, packed = from_gguf(fields), load_tokenizer("packed", pack_tokenizer(fields))
    for text in ("abab", "  ab  ba   a b", "aba bab  abba"):
        assert packed.encode(text) == listed.encode(text)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_scores_of_unigram_are_as_they_were(scores: list[float]) -> None:
    assert list(packed_scores(scores, model="t5")) == scores


def test_merges_of_a_list_need_a_list_of_tokens() -> None:
    header, parts = taken_apart(pack_tokenizer(samples.gguf_bpe(model="without")))
    header["metadata"] |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": ["a b"]}
    with pytest.raises(TokenizerError, match="merges are missing"):
        load_tokenizer("packed", put_together(header, parts))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (gguf([]), "empty"),
        (gguf(["a", "a"]), "both 'a'"),
        (gguf(["a" * 65_537]), "longer than 65536 characters"),
        (gguf(["é" * 32_768]), "longer than 65535 bytes"),
        (gguf(["a"], token_type=[256]), "token_type"),
        (gguf(["a"], token_type=[1, 1]), "one for each"),
        (gguf(["a"], scores=["x"]), "scores"),
        (gguf(["a"], scores=5), "list of numbers"),
        (gguf(["a"], scores=[1e300]), "scores"),
        (gguf(["a"], model="gpt2", merges=["a b"]), "needs the token 'b'"),
        (gguf(["a"], note=float("nan")), "not finite"),
    ],
)
def test_what_is_not_packed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        pack_tokenizer(fields)
