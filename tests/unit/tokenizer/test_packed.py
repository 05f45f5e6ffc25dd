"""Packed tokenizers: what the listed ones give, and an error for whatever is broken."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.errors import TokenizerError
from mlr.tokenizer import from_gguf, load_tokenizer
from mlr.tokenizer.models.bpe import ListedMerges
from mlr.tokenizer.packed import MAGIC, START, PackedMerges, PackedVocabulary, read_packed
from mlr.tokenizer.vocabulary import ListedVocabulary
from mlr_build.packed_tokenizer import pack_tokenizer
from tests.unit.tokenizer import samples

KINDS = {"spm": samples.spm, "bpe": samples.gguf_bpe, "bert": samples.bert, "t5": samples.t5}
TEXT = "ab▁ab abé <s>\n😀 hello, b"


def gguf(tokens: list[str], **more: Any) -> dict[str, Any]:
    fields = {"model": "llama", "tokens": tokens, **more}
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def packed_vocabulary(tokens: list[str]) -> PackedVocabulary:
    vocabulary = read_packed(pack_tokenizer(gguf(tokens)))["tokenizer.ggml.tokens"]
    assert isinstance(vocabulary, PackedVocabulary)
    return vocabulary


texts = st.text(st.sampled_from("ab▁é😀\0\n\U0010ffff"), max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.lists(texts, min_size=1, max_size=60, unique=True), st.lists(texts, max_size=20))
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
    fields = gguf(tokens, merges=pairs)
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


def taken_apart(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The header of a packed file, and its sections."""
    header = json.loads(data[len(data) - int.from_bytes(data[len(MAGIC) : START], "little") :])
    start, parts = START, {}
    for name, size in header["sections"].items():
        parts[name] = data[start : start + size]
        start += size
    return header, parts


def put_together(header: dict[str, Any], parts: dict[str, bytes]) -> bytes:
    sizes = {name: len(part) for name, part in parts.items()}
    text = json.dumps({"sections": sizes, **header}).encode()
    return b"".join([MAGIC, len(text).to_bytes(4, "little"), *parts.values(), text])


def changed(data: bytes, header: dict[str, Any], sections: dict[str, bytes]) -> bytes:
    """A packed file with other fields of its header, or other sections of the same order."""
    found, parts = taken_apart(data)
    del found["sections"]
    return put_together(found | header, parts | sections)


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)


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
        ({"sections": []}, {}, "does not list the sections"),
        ({"sections": {"texts": 0}}, {}, "does not list the sections"),
        ({}, {"more": b"1"}, "does not list the sections"),
        ({}, {"merges": bytes(8)}, "does not list the sections"),
        ({}, {"order": bytes(3)}, "no whole number"),
        ({}, {"bounds": b""}, "-1 tokens"),
        ({}, {"bounds": words(12)}, "0 tokens"),
        ({}, {"bounds": words(12, 35, 13, 14, 20, 21, 22, 35)}, "not those of the texts"),
        ({}, {"bounds": words(11, 12, 13, 14, 20, 21, 22, 35)}, "not those of the texts"),
        ({}, {"bounds": words(12, 13, 14, 15, 20, 21, 22, 36)}, "not those of the texts"),
        ({}, {"texts": b"\xff" * 23}, "not UTF-8"),
        ({}, {"texts": "a▁é".encode() + b"\xc3" + bytes(16)}, "not UTF-8"),
        ({}, {"texts": "aé".encode() + bytes(20)}, "within a character"),
        ({}, {"buckets": b""}, "-1 buckets"),
        ({}, {"buckets": words(0)}, "0 buckets"),
        ({}, {"buckets": words(0, 1, 2, 7)}, "3 buckets"),
        ({}, {"buckets": words(*range(17))}, "16 buckets"),
        ({}, {"buckets": words(0, 8, 7)}, "less than 0 or more than 255"),
        ({}, {"buckets": words(0, 256, 256)}, "less than 0 or more than 255"),
        ({}, {"buckets": words(1, 2, 7)}, "not those of the tokens"),
        ({}, {"buckets": words(0, 2, 6)}, "not those of the tokens"),
        ({}, {"order": words(0, 1, 2, 3, 4, 5, 7)}, "no token of an id"),
        ({}, {"types": bytes(6)}, "types and tokens"),
        ({}, {"scores": bytes(4)}, "scores and tokens"),
        ({}, {"types": b"\x07" * 7}, "no type 7"),
        ({}, {"scores": b"\xff" * 28}, "finite"),
        ({}, {"merges": bytes(16), "ranks": bytes(8)}, "not in order"),
        ({}, {"merges": bytes(16), "ranks": bytes(4)}, "not in order"),
    ],
)
def test_parts_that_do_not_fit(
    header: dict[str, Any], sections: dict[str, bytes], message: str
) -> None:
    tokens = ["a", "b", "▁", "ab", "▁a", "▁ab", "é▁é"]
    data = pack_tokenizer(gguf(tokens, token_type=[1] * 7, scores=[0.0] * 7))
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer("packed", changed(data, header, sections))


def test_texts_come_first() -> None:
    header, parts = taken_apart(pack_tokenizer(samples.spm()))
    del header["sections"]
    moved = {"types": parts["types"], **{n: part for n, part in parts.items() if n != "types"}}
    with pytest.raises(TokenizerError, match="does not list the sections"):
        load_tokenizer("packed", put_together(header, moved))


def test_merges_of_a_list_need_a_list_of_tokens() -> None:
    header, parts = taken_apart(pack_tokenizer(samples.gguf_bpe()))
    del header["sections"], parts["merges"], parts["ranks"]
    header["metadata"]["tokenizer.ggml.merges"] = ["a b"]
    with pytest.raises(TokenizerError, match="merges are missing"):
        load_tokenizer("packed", put_together(header, parts))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (gguf([]), "empty"),
        (gguf(["a", "a"]), "both 'a'"),
        (gguf(["a" * 65_537]), "longer than 65536 characters"),
        (gguf(["a"], token_type=[256]), "token_type"),
        (gguf(["a"], token_type=[1, 1]), "one number for each"),
        (gguf(["a"], scores=["x"]), "scores"),
        (gguf(["a"], scores=5), "one number for each"),
        (gguf(["a"], merges=["a b"]), "needs the token 'b'"),
        (gguf(["a"], note=float("nan")), "not finite"),
    ],
)
def test_what_is_not_packed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        pack_tokenizer(fields)
