"""Small tokenizers, trained with Hugging Face `tokenizers` on the tests' own texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.parity.tokenizer.corpus import TRAINING

__all__ = ["NAMES", "trained"]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE_TOKENS = [f"<0x{value:02X}>" for value in range(256)]


def _byte_level(pattern: str, *, ignore_merges: bool = False, prefix_space: bool = False) -> Any:
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if pattern == GPT2:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False),
            ]
        )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1200,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    return tokenizer


def gpt2() -> Any:
    tokenizer = _byte_level(GPT2)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def roberta() -> Any:
    tokenizer = _byte_level(GPT2, prefix_space=True)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    end, start = ((name, tokenizer.token_to_id(name)) for name in ("</s>", "<s>"))
    tokenizer.post_processor = processors.RobertaProcessing(end, start)
    return tokenizer


def llama3() -> Any:
    tokenizer = _byte_level(LLAMA3, ignore_merges=True)
    template = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), template]
    )
    return tokenizer


def qwen2() -> Any:
    tokenizer = _byte_level(QWEN2)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def gpt4o() -> Any:
    return _byte_level(GPT4O)


def digits() -> Any:
    """As StarCoder and SmolLM: single digits, then GPT-2's pattern."""
    tokenizer = _byte_level(GPT2)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


def _sentencepiece(trainer_options: dict[str, Any]) -> Any:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=["<unk>", "<s>", "</s>", *BYTE_TOKENS],
        show_progress=False,
        **trainer_options,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(TRAINING, trainer)
    content = json.loads(tokenizer.to_str())
    # Byte tokens are needed for training only; as added tokens they would be cut out of texts.
    content["added_tokens"] = content["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(content))


def _sentencepiece_decoder(strip: bool) -> Any:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps)


def llama2() -> Any:
    """As Llama 2: no pre-tokenizer, the whole text is one word."""
    tokenizer = _sentencepiece({"limit_alphabet": 200})
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.pre_tokenizer = None
    tokenizer.decoder = _sentencepiece_decoder(True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def gemma() -> Any:
    """As Gemma: nothing put in front, runs of spaces and newlines are tokens of the user."""
    tokenizer = _sentencepiece({"limit_alphabet": 200})
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = _sentencepiece_decoder(False)
    tokenizer.add_tokens(
        [AddedToken("\n" * n, normalized=False) for n in range(1, 6)]
        + [AddedToken("▁" * n, normalized=True) for n in range(2, 6)]
        + [AddedToken(" \t", normalized=False), AddedToken("<b>", normalized=False)]
    )
    return tokenizer


def mistral() -> Any:
    """As newer Mistral: Metaspace puts a space in front of the very first word only."""
    tokenizer = _sentencepiece({"limit_alphabet": 150})
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = _sentencepiece_decoder(True)
    return tokenizer


def t5() -> Any:
    """As T5: Unigram on words."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=700,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def albert() -> Any:
    """Unigram over the whole text, with byte tokens for what is unknown."""
    tokenizer = t5()
    content = json.loads(tokenizer.to_str())
    model = content["model"]
    size = len(model["vocab"])
    model["vocab"] += [[name, -20.0 - i / 256] for i, name in enumerate(BYTE_TOKENS)]
    model["byte_fallback"] = True
    content["normalizer"] = {"type": "Lowercase"}
    content["pre_tokenizer"]["split"] = False
    content["added_tokens"].append(
        {**content["added_tokens"][0], "id": size + 256, "content": "[MASK]", "lstrip": True}
    )
    content["decoder"] = json.loads(Tokenizer(models.BPE()).to_str())["decoder"]
    return Tokenizer.from_str(json.dumps(content))


def bert() -> Any:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=900,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def bert_cased() -> Any:
    tokenizer = bert()
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous")]
    )
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


def openai_gpt() -> Any:
    """As the first GPT: words end in "</w>"."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        limit_alphabet=120,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    return tokenizer


def prefixed_bpe() -> Any:
    """BPE whose tokens inside a word begin with "##"; unknown characters are not joined."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.Strip()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=["<unk>"],
        continuing_subword_prefix="##",
        limit_alphabet=100,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    tokenizer.add_tokens(
        [
            AddedToken("newtoken", single_word=True),
            AddedToken("spring of", rstrip=True, normalized=True),
            AddedToken("[MASK]", lstrip=True, rstrip=True, special=True),
        ]
    )
    return tokenizer


def wordlevel() -> Any:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKD()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits()]
    )
    trainer = trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(TRAINING, trainer)
    return tokenizer


_MAKERS: dict[str, Callable[[], Any]] = {
    maker.__name__: maker
    for maker in (
        *(gpt2, roberta, llama3, qwen2, gpt4o, digits, llama2, gemma, mistral),
        *(t5, albert, bert, bert_cased, openai_gpt, prefixed_bpe, wordlevel),
    )
}

NAMES = tuple(_MAKERS)


@cache
def trained(name: str) -> Any:
    """The tokenizer `name` (a `tokenizers.Tokenizer`), trained once per run."""
    return _MAKERS[name]()
