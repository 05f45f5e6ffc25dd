"""Pre-tokenizers that GGUF files name (`tokenizer.ggml.pre`) and do not describe.

A pre-tokenizer is a list of patterns: the text is cut at all matches of the first one, the pieces
at all matches of the second, and so on. The patterns do what llama.cpp does for the name, also
where a model's own tokenizer.json differs a little.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRE_TOKENIZERS", "PreTokenizerKind"]


@dataclass(frozen=True)
class PreTokenizerKind:
    """`ignore_merges`: a word that is a token becomes it at once. `add_bos`: the default."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False


_CONTRACTIONS = "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"
_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_SYMBOLS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{{1,3}}{_SYMBOLS}{_SPACES}"
_QWEN2 = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{_SYMBOLS}{_SPACES}"
_QWEN35 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*{_SPACES}"
)
_SEED_CODER = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+{_SPACES}"
_BAILING = rf"{_CONTRACTIONS}|{_WORD}|\p{{N}}{_SYMBOLS}" r"|\s*[\r\n]|\s+(?!\S)|\s+"

# Letters that are not in a-z, then letters that are not in A-Z: "camelCase" is two words.
_UPPER, _LOWER = r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
_SLASHED = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*"
_GPT4O = (
    _CASED % (f"(?:{_CONTRACTIONS})?", f"(?:{_CONTRACTIONS})?")
    + rf"|\p{{N}}{{1,3}}{_SLASHED}{_SPACES}"
)
_TEKKEN = _CASED % ("", "") + rf"|\p{{N}}{_SLASHED}{_SPACES}"

_DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*{_SPACES}"
)
# In hexadecimal, because editors change some of these letters into others that look the same.
_DEEPSEEK_LETTERS = (
    "41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376 377 37b-37d 37f "
    "386 388-38a 38c 38e-3a1 3a3-3f5 3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd "
    "1c90-1cba 1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 "
    "1f48-1f4d 1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 "
    "1fc6-1fcc 1fd0-1fd3 1fd6-1fdb 1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 "
    "2119-211d 2124 2126 2128 212a-212d 212f-2134 2139 213c-213f 2145-2149 214e 2183 2184 "
    "2c00-2c7b 2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d a680-a69b a722-a76f a771-a787 "
    "a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a ff41-ff5a 10400-1044f 104b0-104d3 "
    "104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943 "
)


def _letters(ranges: str) -> str:
    """Ranges of hexadecimal numbers, as the inside of a class."""
    return "".join("-".join(f"\\x{{{end}}}" for end in part.split("-")) for part in ranges.split())


_DIGIT_RUN = "[0-9][0-9][0-9]"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"

_DEFAULT = PreTokenizerKind((r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", _DIGIT_RUN))
_GPT2_KIND = PreTokenizerKind((_GPT2,))
_LLAMA3_KIND = PreTokenizerKind((_LLAMA3,), ignore_merges=True, add_bos=True)
_CODE = PreTokenizerKind((r"\p{N}", _GPT2))
_QWEN2_KIND = PreTokenizerKind((_QWEN2,))
_GPT4O_KIND = PreTokenizerKind((_GPT4O,))
_BLOOM_KIND = PreTokenizerKind((_BLOOM,))
_DEEPSEEK3_KIND = PreTokenizerKind((r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK3))
_BAILING_KIND = PreTokenizerKind((_BAILING,))

PRE_TOKENIZERS: dict[str, PreTokenizerKind] = {
    "default": _DEFAULT,
    **dict.fromkeys(
        (
            *("gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "gigachat", "trillion"),
            *("mellum", "granite-docling", "modern-bert", "roberta-bpe", "a.x-4.0", "jina-es"),
            *("jina-de", "jina-v1-en", "jina-v2-code", "jina-v2-de", "jina-v2-es"),
        ),
        _GPT2_KIND,
    ),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        _LLAMA3_KIND,
    ),
    **dict.fromkeys(("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), PreTokenizerKind((_LLAMA3,))),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez", "grok-2", "solar-open"),
        _QWEN2_KIND,
    ),
    "qwen35": PreTokenizerKind((_QWEN35,)),
    **dict.fromkeys(
        ("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"), _CODE
    ),
    "falcon": PreTokenizerKind((r"[\p{P}$+<=>^~|`]+", _GPT2, _DIGIT_RUN)),
    "deepseek-llm": PreTokenizerKind(
        (
            r"[\r\n]",
            rf"\s?[{_letters(_DEEPSEEK_LETTERS)}]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+\z",
            "[一-龥ࠀ-一가-퟿]+",
            r"\p{N}+",
        )
    ),
    "deepseek-coder": PreTokenizerKind(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}")
    ),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), _DEEPSEEK3_KIND),
    "tekken": PreTokenizerKind((_TEKKEN,), ignore_merges=True, add_bos=True),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "minimax-m2"), _GPT4O_KIND),
    "seed-coder": PreTokenizerKind((_SEED_CODER,)),
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), _BAILING_KIND),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), _BLOOM_KIND),
    "viking": PreTokenizerKind((_BLOOM, r"\p{N}")),
}
"""By the name in the file. Other names are refused, since guessing would give wrong tokens."""
