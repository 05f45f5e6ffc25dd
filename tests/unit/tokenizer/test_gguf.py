"""GGUF metadata: what is read from it, and how every inconsistency is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mlr.errors import RequestError, TokenizerError
from mlr.tokenizer import from_gguf
from tests.unit.tokenizer import samples


def test_sentencepiece_bpe() -> None:
    tokenizer = from_gguf(samples.spm())
    assert tokenizer.vocabulary_size == 266
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, tokenizer.pad_id) == (
        1,
        2,
        0,
        None,
    )
    assert [tokenizer.piece(i) for i in tokenizer.encode("ab é€")] == [
        *("<s>", "▁ab", "▁", "é", "<0xE2>", "<0x82>", "<0xAC>")
    ]
    assert tokenizer.decode(tokenizer.encode("ab é€")) == "ab é€"
    assert tokenizer.encode("", add_special=False) == []
    assert tokenizer.token_bytes(3 + 0xE2) == b"\xe2"
    assert tokenizer.token_id("▁ab") == 264
    assert tokenizer.token_id("nothing") is None


def test_a_space_in_front_only_where_the_file_says_so() -> None:
    tokenizer = from_gguf(samples.spm(add_space_prefix=False, add_bos_token=False))
    assert [tokenizer.piece(i) for i in tokenizer.encode("ab")] == ["ab"]
    assert tokenizer.decode(tokenizer.encode(" a")) == " a"


def test_special_tokens_are_read_only_when_asked() -> None:
    tokenizer = from_gguf(samples.gguf_bpe())
    text = "a<|im_end|>b"
    assert tokenizer.encode(text) == [0, 5, 1]
    assert 5 not in tokenizer.encode(text, parse_special=False)
    assert tokenizer.decode([0, 5, 1]) == "ab"
    assert tokenizer.decode([0, 5, 1], skip_special=False) == text


def test_generation_ends_on_end_of_turn_tokens() -> None:
    assert from_gguf(samples.gguf_bpe()).end_ids == {5, 6}
    assert from_gguf(samples.gguf_bpe(eot_token_id=3)).end_ids == {3, 5, 6}
    # A token that ends a turn is a control token, whatever type the file gives it.
    mistyped = from_gguf(samples.gguf_bpe(token_type=[1] * 7))
    assert mistyped.end_ids == {5, 6}
    assert mistyped.encode("<|im_end|>") == [5]


def test_with_harmony_tokens_end_does_not_end() -> None:
    tokens = ["<|end|>", "<|return|>", "<|call|>", "a"]
    fields = samples.gguf_bpe(tokens=tokens, token_type=[3, 3, 3, 1], merges=[], eos_token_id=1)
    assert from_gguf(fields).end_ids == {1, 2}


def test_byte_level_bpe_leaves_out_what_has_no_token() -> None:
    assert from_gguf(samples.gguf_bpe()).encode("axb ab") == [0, 1, 2, 3]


def test_ids_that_say_none_and_ids_that_are_missing() -> None:
    tokenizer = from_gguf(samples.gguf_bpe(padding_token_id=0xFFFFFFFF, bos_token_id=-1))
    assert tokenizer.pad_id is None
    assert tokenizer.bos_id is None


def test_wordpiece() -> None:
    tokenizer = from_gguf(samples.bert())
    assert tokenizer.encode("Hello,  héllo x") == [2, 4, 5, 6, 4, 5, 1, 3]
    assert tokenizer.encode("hello", add_special=False) == [4, 5]
    assert tokenizer.decode([2, 4, 5, 6, 3]) == "hello ,"


def test_unigram() -> None:
    tokenizer = from_gguf(samples.t5())
    assert [tokenizer.piece(i) for i in tokenizer.encode("aab x")] == [
        *("▁a", "ab", "▁", "<unk>", "</s>")
    ]
    # Scores that cannot be added exactly keep the text in one piece, with the same result.
    inexact = from_gguf(samples.t5(scores=[0.0, 0.0, 0.0, -3.0, -2.0, -1.0, -1.5 + 2**-40]))
    assert inexact.encode("aab x") == tokenizer.encode("aab x")


def test_unigram_spaces() -> None:
    def pieces(text: str, **changes: Any) -> list[str]:
        tokenizer = from_gguf(samples.t5(add_eos_token=False, **changes))
        return [tokenizer.piece(i) for i in tokenizer.encode(text)]

    assert pieces("  a  a ") == ["▁", "▁", "▁a", "▁", "▁a", "▁"]
    assert pieces("  a  a ", remove_extra_whitespaces=True) == ["▁a", "▁a"]
    assert pieces("a a", add_space_prefix=False) == ["a", "▁a"]
    assert pieces("   ") == ["▁", "▁", "▁"]


def test_unpaired_surrogates_are_replaced_and_paired_ones_joined() -> None:
    tokenizer = from_gguf(samples.spm())
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    assert tokenizer.encode("\ud83d\ude00") == tokenizer.encode("😀")


def test_ids_outside_the_vocabulary() -> None:
    tokenizer = from_gguf(samples.spm())
    assert tokenizer.decode([-1, 259, 260, 99999]) == "a"
    for bad in (-1, 266):
        with pytest.raises(RequestError, match="ids go from 0 to 265"):
            tokenizer.piece(bad)
        with pytest.raises(RequestError, match="ids go from 0 to 265"):
            tokenizer.token_bytes(bad)


def test_an_unknown_pre_tokenizer_names_the_known_ones() -> None:
    with pytest.raises(TokenizerError, match=r"'nonsense'.*supported: .*llama-bpe.*qwen2.*smollm"):
        from_gguf(samples.gguf_bpe(pre="nonsense"))


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(TokenizerError, match=r"'rwkv'.*supported: bert, gemma4, gpt2, llama, t5"):
        from_gguf(samples.spm(model="rwkv"))
    with pytest.raises(TokenizerError, match="model is missing"):
        from_gguf({})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (samples.spm(tokens=None), "expected a list of tokens"),
        (samples.spm(tokens="abc"), "expected a list of tokens"),
        (samples.spm(tokens=[]), "empty"),
        (samples.spm(tokens=["a", 1]), "token 1 is not text"),
        (samples.spm(tokens=["x" * 70_000]), "longer than"),
        (samples.spm(tokens=["a", "b", "a"]), "tokens 0 and 2 are both 'a'"),
        (samples.spm(scores=[0.0]), "1 entries for 266 tokens"),
        (samples.spm(scores=[math.nan] * 266), "finite"),
        (samples.spm(scores=[math.inf] * 266), "finite"),
        (samples.spm(scores=["1"] * 266), "must be a number"),
        (samples.spm(scores=[True] * 266), "must be a number"),
        (samples.spm(scores="x" * 266), "list of numbers"),
        (samples.spm(token_type=[1] * 265), "265 entries for 266"),
        (samples.spm(token_type=[99] * 266), "no type 99"),
        (samples.spm(token_type=[6] * 266), "spelled '<unk>'"),
        (samples.spm(bos_token_id=266), "bos_token_id is 266; the vocabulary has ids 0 to 265"),
        (samples.spm(eos_token_id=-5), "eos_token_id is -5"),
        (samples.spm(eos_token_id="2"), "eos_token_id is '2'"),
        (samples.spm(eos_token_id=True), "eos_token_id is True"),
        (samples.spm(eot_token_id=2.0), "eot_token_id is 2.0"),
        (samples.spm(add_space_prefix="no"), "add_space_prefix must be true or false"),
        (samples.spm(add_eos_token=True, eos_token_id=-1), "no tokenizer.ggml.eos_token_id"),
        (samples.gguf_bpe(merges=None), "expected a list"),
        (samples.gguf_bpe(merges=["a"]), r"merge 0 is \['a'\], not two tokens"),
        (samples.gguf_bpe(merges=["a b c"]), "not two tokens"),
        (samples.gguf_bpe(merges=["a x"]), "needs the token 'x'"),
        (samples.gguf_bpe(merges=["b a"]), "needs the token 'ba'"),
        (samples.gguf_bpe(merges=[1]), "all texts or all pairs"),
        (samples.gguf_bpe(merges=["a b", ["a", "b"]]), "all texts or all pairs"),
        (samples.gguf_bpe(merges=[[["a"], "b"]]), "not two tokens"),
        (samples.gguf_bpe(merges=[[1, 2]]), "merge 0"),
        (samples.gguf_bpe(pre=3), "must be text"),
        (samples.gguf_bpe(add_bos_token=True), "no tokenizer.ggml.bos_token_id"),
        (samples.bert(bos_token_id=-1), "no tokenizer.ggml.bos_token_id"),
        (samples.t5(unknown_token_id=-1), "no tokenizer.ggml.unknown_token_id"),
        (samples.t5(precompiled_charsmap="x"), "list of at most"),
        (samples.t5(precompiled_charsmap=["x"] * 10), "list of bytes"),
        (samples.t5(precompiled_charsmap=[1, 0, 0]), "3 bytes"),
    ],
)
def test_inconsistent_metadata_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        from_gguf(fields)


@pytest.mark.parametrize("name", ["<0x-1>", "<0x1>", "<0xGG>", "<0x100>", "0x41", "<0x4١>"])
def test_byte_tokens_must_name_a_byte(name: str) -> None:
    tokens = samples.spm()["tokenizer.ggml.tokens"]
    with pytest.raises(TokenizerError, match="byte tokens go from"):
        from_gguf(samples.spm(tokens=[*tokens[:3], name, *tokens[4:]]))


def test_too_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlr.tokenizer.vocabulary.MAX_TOKENS", 100)
    with pytest.raises(TokenizerError, match="266 tokens, more than the limit 100"):
        from_gguf(samples.spm())


def test_every_field_may_be_anything() -> None:
    """Whatever stands in a field, the answer is a tokenizer or a TokenizerError."""
    junk: list[Any] = [
        None,
        True,
        -1,
        1e300,
        "x",
        "",
        [],
        [None],
        [[]],
        {},
        {"a": []},
        b"ab",
        ["a"],
    ]
    for make in (samples.spm, samples.gguf_bpe, samples.bert, samples.t5):
        for key in make():
            for value in junk:
                try:
                    tokenizer = from_gguf({**make(), key: value})
                except TokenizerError:
                    continue
                tokenizer.decode(tokenizer.encode("ab <s> é"))
