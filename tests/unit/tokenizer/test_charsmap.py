"""SentencePiece's tables of replacements: used as the library does, and damaged."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from mlr.errors import TokenizerError
from mlr.tokenizer.charsmap import Charsmap, clusters
from tests.parity.tokenizer.corpus import TEXTS
from tests.parity.tokenizer.vocabularies import charsmap

DATA = charsmap()
LETTERS = "AÉE\u0301\u00e9eﬁ㍿\u3000\t\n\rabcd👍🏿\u0600न\u0943"


def test_every_text_is_replaced_as_by_the_library() -> None:
    table, oracle = Charsmap(DATA, "test"), normalizers.Precompiled(DATA)
    for name, text in TEXTS.items():
        assert table.by_cluster(text) == oracle.normalize_str(text), name


@settings(max_examples=500)
@given(st.text(alphabet=LETTERS))
def test_texts_of_what_is_replaced(text: str) -> None:
    expected = normalizers.Precompiled(DATA).normalize_str(text)
    assert Charsmap(DATA, "test").by_cluster(text) == expected


def test_the_longest_entry() -> None:
    table = Charsmap(DATA, "test")
    assert table.longest("abcde", 0) == (4, "")
    assert table.longest("abcxe", 0) == (3, "YZ")
    assert table.longest("xabx", 1) == (2, "X")
    assert table.longest("x", 0) == (1, "x")
    assert table.longest("👍🏿", 0) == (2, "+2")
    assert table.longest("👍", 0) == (1, "+1")


@given(st.text())
def test_clusters_are_the_whole_text(text: str) -> None:
    assert "".join(clusters(text)) == text


def test_damaged_tables_end_in_an_error_or_in_some_text() -> None:
    draw = random.Random(4)
    texts = [text for text in TEXTS.values() if len(text) < 100]
    for _ in range(300):
        data = bytearray(DATA[: draw.randrange(len(DATA))] if draw.random() < 0.3 else DATA)
        for _ in range(draw.randint(0, 20)):
            if data:
                data[draw.randrange(len(data))] = draw.randrange(256)
        try:
            table = Charsmap(bytes(data), "test")
            for text in texts[:20]:
                table.by_cluster(text)
                table.longest(text or "x", 0)
        except TokenizerError:
            continue


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes"),
        (b"\x04\0\0\0", "4 bytes"),
        (b"\xff\xff\xff\xff" + bytes(8), "the trie has 4294967295 bytes of 12"),
        (b"\x03\0\0\0" + bytes(8), "the trie has 3 bytes"),
        (b"\0\0\0\0" + bytes(8), "the trie has 0 bytes"),
        (b"\x04\0\0\0" + bytes(4) + b"abc", "does not end"),
    ],
)
def test_broken_headers(data: bytes, reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        Charsmap(data, "test")
