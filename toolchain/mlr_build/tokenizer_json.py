"""How GGUF's tokenizer works, as Hugging Face's tokenizer.json says it, for JavaScript.

Vocabulary, merges and added tokens are left out: a packed tokenizer has them. Only what gives the
same ids is written; the rest is `Inexact`. Patterns are written so that Oniguruma (which
`tokenizers` uses) and JavaScript read them alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlr.tokenizer.byte_level import byte_values
from mlr.tokenizer.gguf_fields import PREFIX, GgufFields, TokenType
from mlr.tokenizer.gguf_patterns import PRE_TOKENIZERS
from mlr.tokenizer.normalizers import IDEOGRAPHS
from mlr.tokenizer.tokenizer import Tokenizer
from mlr.tokenizer.vocabulary import SPACE, Vocabulary, byte_tokens

__all__ = ["Inexact", "convert", "encode"]

Json = dict[str, Any]

_LONGEST_WORD = 10_000  # characters; no context holds so long a word, and longer ones take for ever
_WHITE_SPACE = r"\t-\r \u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000"
_IDEOGRAPHS = "".join(f"{chr(first)}-{chr(last)}" for first, last in IDEOGRAPHS)


class Inexact(Exception):
    """A tokenizer that tokenizer.json cannot say exactly; the message says why."""


def encode(content: Json) -> bytes:
    """The bytes of a tokenizer.json without any white space."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")


def convert(metadata: Mapping[str, Any], tokenizer: Tokenizer) -> Json:
    """A tokenizer.json of GGUF metadata, which `tokenizer` has been made from, without its tables.

    Raises `Inexact`.
    """
    kind = metadata[PREFIX + "model"]
    converters: dict[str, Callable[[GgufFields, str | None], Json]] = {
        "bert": _wordpiece,
        "gemma4": _whole_text_bpe,
        "gpt2": _byte_level_bpe,
        "llama": _sentencepiece,
    }
    if kind not in converters:
        raise Inexact(f"tokenizers of the kind {kind!r} are not converted")
    fields = GgufFields(metadata, {})
    _refuse_overlaps(fields)
    unknown = None if tokenizer.unk_id is None else tokenizer.piece(tokenizer.unk_id)
    return {
        "version": "1.0",
        **converters[kind](fields, unknown),
        "post_processor": _template(tokenizer),
    }


def _sentencepiece(fields: GgufFields, unknown: str | None) -> Json:
    _require_bytes(fields.vocabulary)
    prefix = fields.flag("add_space_prefix", True)
    steps: list[Json] = [{"type": "Prepend", "prepend": SPACE}] if prefix else []
    steps.append(_replace({"String": " "}, SPACE))
    return {
        "normalizer": _sequence("normalizers", steps),
        "pre_tokenizer": None,
        "model": _bpe(unk_token=unknown, fuse_unk=True, byte_fallback=True),
        "decoder": _spaced_decoder(strip=prefix),
    }


def _whole_text_bpe(fields: GgufFields, unknown: str | None) -> Json:
    _require_bytes(fields.vocabulary)
    return {
        "normalizer": _replace({"String": " "}, SPACE),
        "pre_tokenizer": _split(r"[^\n]+|\n+", "Isolated"),
        "model": _bpe(byte_fallback=True),
        "decoder": _spaced_decoder(strip=False),
    }


def _byte_level_bpe(fields: GgufFields, unknown: str | None) -> Json:
    missing = [one for one in byte_values() if fields.vocabulary.find(one) is None]
    if missing:
        raise Inexact(f"{len(missing)} of the 256 bytes have no token")
    kind = PRE_TOKENIZERS[fields.text("pre", "default")]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    splits = [_split(_portable(pattern), "Isolated") for pattern in kind.patterns]
    return {
        "normalizer": None,
        "pre_tokenizer": _sequence("pretokenizers", [*splits, byte_level]),
        "model": _bpe(ignore_merges=kind.ignore_merges),
        "decoder": byte_level,
    }


def _wordpiece(fields: GgufFields, unknown: str | None) -> Json:
    """llama.cpp's words, step by step, since they differ from BERT's own in rare scripts.

    One difference is left: a word of the text that begins with `▁` gets no other one in front.
    """
    lowercase = fields.flag("normalizer.lowercase", True)
    strip_accents = fields.flag("normalizer.strip_accents", lowercase)
    if lowercase and not strip_accents:
        raise Inexact("lower case that keeps accents is not converted")
    steps: list[Json] = []
    if strip_accents:
        steps += [*_first_hangul_letters(), {"type": "NFD"}]
    steps.append(_replace({"Regex": f"[{_WHITE_SPACE}]"}, " "))
    steps.append(_replace({"Regex": r"[\p{Cc}\p{Cf}\p{Co}\uFFFD]"}, ""))
    if strip_accents:
        steps.append(_replace({"Regex": r"\p{M}"}, ""))
    if lowercase:
        # At the end of a word, JavaScript would make it another letter.
        steps += [_replace({"String": "Σ"}, "σ"), {"type": "Lowercase"}]
    splits = [
        _split(" ", "Removed"),
        _split(rf"[\p{{P}}$+<=>^`|~]|[{_IDEOGRAPHS}]", "Isolated"),
        {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": False},
    ]
    return {
        "normalizer": _sequence("normalizers", steps),
        "pre_tokenizer": _sequence("pretokenizers", splits),
        "model": {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": "",
            "max_input_chars_per_word": _LONGEST_WORD,
        },
        "decoder": _spaced_decoder(strip=True),
    }


def _first_hangul_letters() -> list[Json]:
    """Of a Hangul syllable only the first letter is left; all else that decomposes has marks."""
    steps = []
    for letter in range(19):
        first = 0xAC00 + 588 * letter  # as many syllables begin with each letter
        syllables = {"Regex": f"[{chr(first)}-{chr(first + 587)}]"}
        steps.append(_replace(syllables, chr(0x1100 + letter)))
    return steps


def _bpe(**options: Any) -> Json:
    return {
        "type": "BPE",
        "unk_token": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **options,
    }


def _require_bytes(vocabulary: Vocabulary) -> None:
    missing = byte_tokens(vocabulary).count(None)
    if missing:
        raise Inexact(f"{missing} of the 256 bytes have no token")


def _refuse_overlaps(fields: GgufFields) -> None:
    """GGUF's rule cuts out the longest token first, tokenizer.json's the one that comes first.

    The two agree unless the end of one token is the beginning of another. Runs of one character
    are cut alike by both.
    """
    kinds = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
    tokens = {fields.vocabulary.text(token_id) for token_id in fields.with_type(*kinds)}
    beginnings: dict[str, set[str]] = {}
    for token in tokens:
        for length in range(1, len(token)):
            beginnings.setdefault(token[:length], set()).add(token)
    for token in tokens:
        for start in range(1, len(token)):
            for other in beginnings.get(token[start:], set()) - {token}:
                if len(set(token + other)) > 1:
                    raise Inexact(f"the added tokens {token!r} and {other!r} can overlap")


def _template(tokenizer: Tokenizer) -> Json | None:
    before, after = tokenizer.surroundings()
    if not before and not after:
        return None

    def special(ids: Iterable[int], type_id: int) -> list[Json]:
        return [{"SpecialToken": {"id": tokenizer.piece(i), "type_id": type_id}} for i in ids]

    single = [*special(before, 0), {"Sequence": {"id": "A", "type_id": 0}}, *special(after, 0)]
    second = [{"Sequence": {"id": "B", "type_id": 1}}, *special(after, 1)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *second],
        "special_tokens": {
            tokenizer.piece(i): {
                "id": tokenizer.piece(i),
                "ids": [i],
                "tokens": [tokenizer.piece(i)],
            }
            for i in (*before, *after)
        },
    }


def _sequence(items: str, steps: list[Json]) -> Json:
    return steps[0] if len(steps) == 1 else {"type": "Sequence", items: steps}


def _replace(pattern: Json, content: str) -> Json:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _split(pattern: str, behavior: str) -> Json:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": behavior,
        "invert": False,
    }


def _spaced_decoder(*, strip: bool) -> Json:
    steps: list[Json] = [
        _replace({"String": SPACE}, " "),
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if strip:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


_SUBTRACTION = re.compile(r"\[(\\p\{\w+\})&&\[\^([^\]]+)\]\]")
_ESCAPES = re.compile(r'\\x\{([0-9a-fA-F]+)\}|\\(["sSz\\])', re.ASCII)


def _portable(pattern: str) -> str:
    """The pattern without what JavaScript reads otherwise: `\\s`, `\\z`, `&&`, `\\x{…}`.

    In the patterns of `PRE_TOKENIZERS`, `\\S` and `\\z` stand outside of classes only.
    """

    def replaced(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1], 16))
        return {
            "s": _WHITE_SPACE if _in_class(pattern, match.start()) else f"[{_WHITE_SPACE}]",
            "S": f"[^{_WHITE_SPACE}]",
            "z": r"(?!\p{Any})",
            '"': '"',
            "\\": r"\\",
        }[match[2]]

    pattern = _SUBTRACTION.sub(r"(?:(?![\2])\1)", pattern)
    return _ESCAPES.sub(replaced, pattern)


def _in_class(pattern: str, end: int) -> bool:
    """Whether the place `end` lies between square brackets."""
    inside = False
    for match in re.finditer(r"\\.|[\[\]]", pattern[:end]):
        if match[0] in "[]":
            inside = match[0] == "["
    return inside
