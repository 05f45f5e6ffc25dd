"""tokenizer.json: special tokens, and how what is wrong or unknown is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from mlr.errors import TokenizerError
from mlr.tokenizer import from_huggingface, load_tokenizer
from tests.unit.tokenizer import samples

BASE = samples.huggingface


def added(token_id: int, content: str, **flags: bool) -> dict[str, Any]:
    return {"id": token_id, "content": content, "special": True, **flags}


def test_special_tokens_by_their_usual_names() -> None:
    tokens = [added(4, "<s>"), added(5, "</s>"), added(6, "<pad>"), added(7, "<|im_end|>")]
    tokenizer = from_huggingface(BASE(added_tokens=tokens))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (4, 5, 6)
    assert tokenizer.end_ids == {5, 7}
    assert tokenizer.vocabulary_size == 8


def test_special_tokens_by_configuration() -> None:
    tokens = [added(4, "<s>"), added(5, "</s>"), added(6, "END")]
    config = {"bos_token": None, "eos_token": {"content": "END"}, "unk_token": "<unk>"}
    tokenizer = from_huggingface(BASE(added_tokens=tokens), config)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (None, 6, 3)
    assert tokenizer.end_ids == {5, 6}


def test_truncation_and_padding_are_left_out() -> None:
    tokenizer = from_huggingface(
        BASE(truncation={"max_length": 2}, padding={"strategy": {"Fixed": 9}})
    )
    assert tokenizer.encode("ababab") == [2, 2, 2]


def test_token_bytes() -> None:
    fallback = {"type": "ByteFallback"}
    model = samples.bpe(vocab={"▁a": 0, "<0xC3>": 1, "<0xA9>": 2}, merges=[])
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    steps = [replace, fallback, {"type": "Fuse"}, strip]
    tokenizer = from_huggingface(BASE(model, decoder={"type": "Sequence", "decoders": steps}))
    assert [tokenizer.token_bytes(i) for i in range(3)] == [b" a", b"\xc3", b"\xa9"]
    assert tokenizer.decode([0, 0, 1, 2, 1]) == "a a\ufffd\ufffd\ufffd"
    assert tokenizer.decode([0, 0, 1, 2]) == "a aé"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "tokenizer.json.model: expected an object"),
        (BASE({"type": "Magic"}), r"model: the model 'Magic' is not supported; supported: BPE"),
        (BASE({"type": []}), "model"),
        (BASE(samples.bpe(vocab=[])), "expected an object of token texts"),
        (BASE(samples.bpe(vocab={"a": -1})), "between 0 and"),
        (BASE(samples.bpe(vocab={"a": 10**9})), "between 0 and"),
        (BASE(samples.bpe(vocab={"a": 3_000_000})), "far beyond"),
        (BASE(samples.bpe(vocab={"a": 0, "b": 0})), "share one id"),
        (BASE(samples.bpe(vocab={"a": True})), "whole numbers"),
        (BASE(samples.bpe(vocab={"a": "0"})), "whole numbers"),
        (BASE(samples.bpe(merges=[["a", "c"]])), "needs the token 'c'"),
        (BASE(samples.bpe(merges="a b")), "expected a list"),
        (BASE(samples.bpe(unk_token="[UNK]")), r"unknown token '\[UNK\]' is not in the vocab"),
        (BASE(samples.bpe(unk_token=1)), "unk_token must be text"),
        (BASE(samples.bpe(byte_fallback="yes")), "byte_fallback must be true or false"),
        (BASE({"type": "WordPiece", "vocab": {"a": 0}}), "unknown token is not in the vocab"),
        (BASE({"type": "Unigram", "vocab": {"a": 0}}), "vocab must be a list"),
        (BASE({"type": "Unigram", "vocab": [["a"]]}), "a token and its score"),
        (BASE({"type": "Unigram", "vocab": [["a", "x"]]}), "finite number"),
        (BASE({"type": "Unigram", "vocab": [["a", float("nan")]]}), "finite number"),
        (BASE({"type": "Unigram", "vocab": [["a", 1], ["a", 2]]}), "are both 'a'"),
        (BASE({"type": "Unigram", "vocab": [["a", 1]], "unk_id": 1}), "unk_id is 1"),
        (BASE(added_tokens={}), "added_tokens must be a list"),
        (BASE(added_tokens=[1]), r"added_tokens\[0\]: expected an object"),
        (BASE(added_tokens=[added(0, "x")]), "'x' and 'a' share the id 0"),
        (BASE(added_tokens=[added(7, "a")]), "has the id 7, but the id 0"),
        (BASE(added_tokens=[added(-1, "x")]), "from 0 on"),
        (BASE(added_tokens=[added(10**7, "x")]), "far beyond"),
        (BASE(added_tokens=[added(True, "x")]), "from 0 on"),
        (BASE(normalizer={"type": "Magic"}), "normalizer 'Magic' is not supported; supported: B"),
        (BASE(normalizer={}), "type must be text, but is missing"),
        (BASE(normalizer=[]), "normalizer: expected an object"),
        (BASE(normalizer={"type": "Prepend"}), "prepend must be text"),
        (
            BASE(normalizer={"type": "Replace", "pattern": {"Regex": "("}, "content": ""}),
            "not closed",
        ),
        (BASE(normalizer={"type": "Precompiled", "precompiled_charsmap": "?"}), "base 64"),
        (
            BASE(
                normalizer={
                    "type": "Precompiled",
                    "precompiled_charsmap": base64.b64encode(b"\xff" * 16).decode(),
                }
            ),
            "the trie has",
        ),
        (
            BASE(normalizer={"type": "Sequence", "normalizers": [{"type": "Magic"}]}),
            r"normalizer.normalizers\[0\]: the normalizer 'Magic'",
        ),
        (BASE(pre_tokenizer={"type": "Magic"}), "pre-tokenizer 'Magic' is not supported"),
        (
            BASE(pre_tokenizer={"type": "Metaspace", "prepend_scheme": "last"}),
            "supported: always, first, never",
        ),
        (BASE(pre_tokenizer={"type": "Metaspace", "replacement": "ab"}), "one character"),
        (
            BASE(
                pre_tokenizer={
                    "type": "Split",
                    "pattern": {"String": "a"},
                    "behavior": "Sideways",
                }
            ),
            "supported: Removed, Isolated",
        ),
        (BASE(post_processor={"type": "Magic"}), "post-processor 'Magic' is not supported"),
        (
            BASE(post_processor={"type": "BertProcessing", "sep": ["x", 4], "cls": ["y", 0]}),
            "4 is not a token id; ids go from 0 to 3",
        ),
        (
            BASE(post_processor={"type": "TemplateProcessing", "single": []}),
            "special_tokens: expected an object",
        ),
        (
            BASE(post_processor={"type": "TemplateProcessing", "single": [], "special_tokens": {}}),
            "exactly once",
        ),
        (BASE(decoder={"type": "CTC"}), "decoder 'CTC' is not supported; supported: BPEDecoder"),
        (
            BASE(decoder={"type": "Strip", "content": " ", "start": -1, "stop": 0}),
            "from 0 on",
        ),
    ],
)
def test_what_is_wrong_is_named(content: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        from_huggingface(content)


def test_components_nested_too_deep() -> None:
    component: dict[str, Any] = {"type": "NFC"}
    for _ in range(30):
        component = {"type": "Sequence", "normalizers": [component]}
    with pytest.raises(TokenizerError, match="nested too deep"):
        from_huggingface(BASE(normalizer=component))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "must hold an object"),
        (b"null", "must hold an object"),
    ],
)
def test_files_that_are_not_json_objects(data: bytes, reason: str) -> None:
    for form in ("gguf", "huggingface"):
        with pytest.raises(TokenizerError, match=reason):
            load_tokenizer(form, data)


def test_load_tokenizer() -> None:
    data = json.dumps(samples.huggingface()).encode()
    assert load_tokenizer("huggingface", data).encode("abc") == [2]
    data = json.dumps(samples.spm()).encode()
    assert load_tokenizer("gguf", data).bos_id == 1
    with pytest.raises(TokenizerError, match="'onnx' is not supported; supported: packed, gguf"):
        load_tokenizer("onnx", data)


def test_files_over_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlr.tokenizer.loading.MAX_FILE_SIZE", 10)
    with pytest.raises(TokenizerError, match="more than the limit 10"):
        load_tokenizer("gguf", b" " * 11)


def test_every_field_may_be_anything() -> None:
    """Whatever stands in a field, the answer is a tokenizer or a TokenizerError."""
    junk: list[Any] = [True, -1, 1e300, "x", "", [], [None], [[]], {}, {"type": []}, ["a"]]
    components = {
        "normalizer": {"type": "Strip", "strip_left": True, "strip_right": True},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"},
        "post_processor": {"type": "RobertaProcessing", "sep": ["a", 0], "cls": ["b", 1]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    }
    whole = BASE(samples.bpe(), added_tokens=[added(4, "<s>")], **components)
    for key, part in whole.items():
        inner = part if isinstance(part, dict) else {}
        for value in junk:
            variants = [{**whole, key: value}]
            variants += [{**whole, key: {**inner, name: value}} for name in inner]
            for variant in variants:
                try:
                    tokenizer = from_huggingface(variant)
                except TokenizerError:
                    continue
                tokenizer.decode(tokenizer.encode("ab <s> é"))
