"""Streams: the same text as a full decode, and never half a character."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.tokenizer import Tokenizer, from_gguf, from_huggingface
from tests.parity.tokenizer.trained import NAMES, trained
from tests.parity.tokenizer.vocabularies import metadata
from tests.unit.tokenizer import samples

KINDS = [*NAMES, "gguf-spm", "gguf-bert", "gguf-t5", "gguf-bpe-gpt-2", "gguf-gemma4"]

LOSSLESS = ["gpt2", "llama3", "gpt4o", "digits", "gguf-bpe-gpt-2"]
"""These keep any text; the others normalize it or cannot say every character."""


def tokenizer_of(kind: str) -> Tokenizer:
    if kind.startswith("gguf-"):
        return from_gguf(metadata(kind.removeprefix("gguf-")))
    return from_huggingface(json.loads(trained(kind).to_str()))


TOKENIZERS: dict[str, Tokenizer] = {}


def tokenizer(kind: str) -> Tokenizer:
    if kind not in TOKENIZERS:
        TOKENIZERS[kind] = tokenizer_of(kind)
    return TOKENIZERS[kind]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_stream_gives_the_text_of_a_full_decode(kind: str, data: Any) -> None:
    subject = tokenizer(kind)
    ids = data.draw(st.lists(st.integers(-1, subject.vocabulary_size)))
    for skip in (True, False):
        stream = subject.stream(skip_special=skip)
        parts = [stream.push(token_id) for token_id in ids]
        parts.append(stream.flush())
        assert "".join(parts) == subject.decode(ids, skip_special=skip)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(text=st.text())
def test_no_part_of_a_character_is_ever_shown(kind: str, text: str) -> None:
    subject = tokenizer(kind)
    text = text.replace("\ufffd", "")
    shown = ""
    stream = subject.stream()
    for token_id in subject.encode(text, add_special=False, parse_special=False):
        shown += stream.push(token_id)
        assert "\ufffd" not in shown
    assert "\ufffd" not in shown + stream.flush()


@pytest.mark.parametrize("kind", LOSSLESS)
@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_lossless_tokenizers_give_the_text_back(kind: str, text: str) -> None:
    subject = tokenizer(kind)
    ids = subject.encode(text, add_special=False, parse_special=False)
    assert subject.decode(ids) == text
    assert b"".join(map(subject.token_bytes, ids)).decode() == text


@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_sentencepiece_gives_the_text_back(text: str) -> None:
    """All but `▁`, which stands for a space."""
    text = text.replace("▁", "")
    for prefix in (True, False):
        subject = from_gguf(samples.spm(add_space_prefix=prefix))
        assert subject.decode(subject.encode(text, parse_special=False)) == text


def test_characters_of_several_tokens_come_whole() -> None:
    subject = from_gguf(samples.spm(add_space_prefix=False))
    stream = subject.stream()
    first = subject.vocabulary_size - 7 - 256
    assert [stream.push(first + byte) for byte in "€é".encode()] == ["", "", "€", "", "é"]
    assert stream.flush() == ""
    assert stream.push(first + 0xE2) == ""
    assert stream.flush() == "\ufffd"


def test_bytes_that_are_no_character_are_shown_as_soon_as_that_is_known() -> None:
    subject = from_gguf(samples.spm(add_space_prefix=False))
    stream = subject.stream()
    assert [stream.push(3 + byte) for byte in b"\xe2\x41\xff\xf0\x9f\x41"] == [
        *("", "\ufffdA", "\ufffd", "", "", "\ufffdA")
    ]
