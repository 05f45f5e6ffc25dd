"""The components of a tokenizer.json: each kind has a name and a function that builds it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TypeVar

from mlr.errors import TokenizerError
from mlr.tokenizer import decoders, normalizers, pre_tokenizers
from mlr.tokenizer.charsmap import Charsmap
from mlr.tokenizer.fields import MAX_NESTING, Fields
from mlr.tokenizer.normalizers import Normalizer
from mlr.tokenizer.patterns import Pattern
from mlr.tokenizer.post_processors import PairSurroundings, Surround
from mlr.tokenizer.pre_tokenizers import BEHAVIORS, PreTokenizer

__all__ = ["StepFactory", "build_decoder", "build_normalizer", "build_post", "build_pre_tokenizer"]

StepFactory = Callable[[], list[decoders.Step]]

_Built = TypeVar("_Built")


def _build(fields: Fields, builders: dict[str, Callable[[Fields], _Built]], stage: str) -> _Built:
    builder = builders.get(fields.kind)
    if builder is None:
        raise TokenizerError(
            f"{fields.where}: the {stage} {fields.kind!r} is not supported; "
            f"supported: {', '.join(sorted(builders))}"
        )
    if fields.where.count("[") > MAX_NESTING:
        raise fields.problem("components are nested too deep")
    return builder(fields)


def _pattern(fields: Fields) -> str | Pattern:
    """A field "pattern": {"String": …} or {"Regex": …}."""
    inner = fields.object("pattern")
    if "String" in inner.value:
        return inner.text("String")
    return Pattern(inner.text("Regex"))


# Normalizers


def build_normalizer(fields: Fields) -> Normalizer:
    return _build(fields, _NORMALIZERS, "normalizer")


def _bert_normalizer(fields: Fields) -> Normalizer:
    lowercase = fields.flag("lowercase", True)
    return normalizers.BertNormalizer(
        clean_text=fields.flag("clean_text", True),
        ideographs=fields.flag("handle_chinese_chars", True),
        strip_accents=fields.flag("strip_accents", lowercase),
        lowercase=lowercase,
    )


def _replace(fields: Fields) -> Normalizer:
    pattern, content = _pattern(fields), fields.text("content")
    if isinstance(pattern, str):
        return normalizers.replace(pattern, content)
    return normalizers.replace_pattern(pattern, content)


def _precompiled(fields: Fields) -> Normalizer:
    try:
        data = base64.b64decode(fields.text("precompiled_charsmap"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise fields.problem(f"precompiled_charsmap is not base 64: {error}") from None
    return Charsmap(data, f"{fields.where}.precompiled_charsmap").by_cluster


_NORMALIZERS: dict[str, Callable[[Fields], Normalizer]] = {
    "BertNormalizer": _bert_normalizer,
    "ByteLevel": lambda fields: normalizers.byte_level,
    "Lowercase": lambda fields: normalizers.lowercase,
    "NFC": lambda fields: normalizers.unicode_form("NFC"),
    "NFD": lambda fields: normalizers.unicode_form("NFD"),
    "NFKC": lambda fields: normalizers.unicode_form("NFKC"),
    "NFKD": lambda fields: normalizers.unicode_form("NFKD"),
    "Nmt": lambda fields: normalizers.nmt,
    "Precompiled": _precompiled,
    "Prepend": lambda fields: normalizers.prepend(fields.text("prepend")),
    "Replace": _replace,
    "Sequence": lambda fields: normalizers.sequence(
        [build_normalizer(inner) for inner in fields.objects("normalizers")]
    ),
    "Strip": lambda fields: normalizers.strip(
        fields.flag("strip_left", True), fields.flag("strip_right", True)
    ),
    "StripAccents": lambda fields: normalizers.strip_accents,
}


# Pre-tokenizers


def build_pre_tokenizer(fields: Fields) -> PreTokenizer:
    return _build(fields, _PRE_TOKENIZERS, "pre-tokenizer")


def _behavior(fields: Fields) -> str:
    behavior = fields.text("behavior", "Isolated")
    if behavior not in BEHAVIORS:
        raise fields.problem(f"behavior is {behavior!r}; supported: {', '.join(BEHAVIORS)}")
    return behavior


def _split(fields: Fields) -> PreTokenizer:
    pattern = _pattern(fields)
    if isinstance(pattern, str):
        pattern = Pattern("".join(f"\\x{{{ord(character):x}}}" for character in pattern))
    return pre_tokenizers.Split(pattern, _behavior(fields), invert=fields.flag("invert", False))


def _prepend_scheme(fields: Fields) -> str:
    scheme = fields.text("prepend_scheme", "always")
    if scheme not in ("always", "first", "never"):
        raise fields.problem(f"prepend_scheme is {scheme!r}; supported: always, first, never")
    return scheme if fields.flag("add_prefix_space", True) else "never"


def _replacement(fields: Fields) -> str:
    replacement = fields.text("replacement", "▁")
    if len(replacement) != 1:
        raise fields.problem(f"replacement must be one character, not {replacement!r}")
    return replacement


_PRE_TOKENIZERS: dict[str, Callable[[Fields], PreTokenizer]] = {
    "BertPreTokenizer": lambda fields: pre_tokenizers.bert_pre_tokenizer(),
    "ByteLevel": lambda fields: pre_tokenizers.ByteLevel(
        add_prefix_space=fields.flag("add_prefix_space", True),
        use_regex=fields.flag("use_regex", True),
    ),
    "CharDelimiterSplit": lambda fields: pre_tokenizers.Split(
        Pattern(f"\\x{{{ord(_delimiter(fields)):x}}}"), "Removed"
    ),
    "Digits": lambda fields: pre_tokenizers.digits(
        individual=fields.flag("individual_digits", False)
    ),
    "FixedLength": lambda fields: pre_tokenizers.FixedLength(max(1, fields.count("length", 5))),
    "Metaspace": lambda fields: pre_tokenizers.Metaspace(
        _replacement(fields), _prepend_scheme(fields), split=fields.flag("split", True)
    ),
    "Punctuation": lambda fields: pre_tokenizers.punctuation(_behavior(fields)),
    "Sequence": lambda fields: pre_tokenizers.Sequential(
        [build_pre_tokenizer(inner) for inner in fields.objects("pretokenizers")]
    ),
    "Split": _split,
    "Whitespace": lambda fields: pre_tokenizers.whitespace(),
    "WhitespaceSplit": lambda fields: pre_tokenizers.whitespace_split(),
}


def _delimiter(fields: Fields) -> str:
    delimiter = fields.text("delimiter")
    if len(delimiter) != 1:
        raise fields.problem(f"delimiter must be one character, not {delimiter!r}")
    return delimiter


# Decoders


def build_decoder(fields: Fields) -> StepFactory:
    return _build(fields, _DECODERS, "decoder")


def _decoder_sequence(fields: Fields) -> StepFactory:
    factories = [build_decoder(inner) for inner in fields.objects("decoders")]
    return lambda: [step for factory in factories for step in factory()]


def _metaspace_decoder(fields: Fields) -> StepFactory:
    replacement, prepended = _replacement(fields), _prepend_scheme(fields) != "never"
    return lambda: [decoders.MetaspaceStep(replacement, prepended=prepended)]


def _replace_decoder(fields: Fields) -> StepFactory:
    pattern, content = _pattern(fields), fields.text("content")
    return lambda: [decoders.ReplaceStep(pattern, content)]


def _strip_decoder(fields: Fields) -> StepFactory:
    content, start, stop = fields.text("content", " "), fields.count("start"), fields.count("stop")
    if len(content) != 1:
        raise fields.problem(f"content must be one character, not {content!r}")
    return lambda: [decoders.StripStep(content, start, stop)]


def _wordpiece_decoder(fields: Fields) -> StepFactory:
    prefix, cleanup = fields.text("prefix", "##"), fields.flag("cleanup", True)
    return lambda: [decoders.WordPieceStep(prefix, cleanup=cleanup)]


def _bpe_decoder(fields: Fields) -> StepFactory:
    suffix = fields.text("suffix", "</w>")
    return lambda: [decoders.BPEStep(suffix)]


_DECODERS: dict[str, Callable[[Fields], StepFactory]] = {
    "BPEDecoder": _bpe_decoder,
    "ByteFallback": lambda fields: lambda: [decoders.ByteFallbackStep()],
    "ByteLevel": lambda fields: lambda: [decoders.ByteLevelStep()],
    "Fuse": lambda fields: lambda: [decoders.FuseStep()],
    "Metaspace": _metaspace_decoder,
    "Replace": _replace_decoder,
    "Sequence": _decoder_sequence,
    "Strip": _strip_decoder,
    "WordPiece": _wordpiece_decoder,
}


# Post-processors


def build_post(fields: Fields, size: int) -> Surround:
    """What a post-processor puts around one text and around two; ids must be under `size`."""
    builders: dict[str, Callable[[Fields], Surround]] = {
        "BertProcessing": lambda fields: _around(fields, size, separators=1),
        "ByteLevel": lambda fields: Surround((), (), ([], [], [])),
        "RobertaProcessing": lambda fields: _around(fields, size, separators=2),
        "Sequence": lambda fields: _post_sequence(fields, size),
        "TemplateProcessing": lambda fields: _template(fields, size),
    }
    return _build(fields, builders, "post-processor")


def _checked_id(fields: Fields, token_id: object, size: int) -> int:
    if type(token_id) is not int or not 0 <= token_id < size:
        raise fields.problem(f"{token_id!r} is not a token id; ids go from 0 to {size - 1}")
    return token_id


def _around(fields: Fields, size: int, *, separators: int) -> Surround:
    ids: list[int] = []
    for name in ("cls", "sep"):
        pair = fields.items(name)
        if len(pair) != 2:
            raise fields.problem(f"{name} must be a token and its id")
        ids.append(_checked_id(fields, pair[1], size))
    before, after = ids[:1], ids[1:]
    return Surround(before, after, (before, after * separators, after))


def _post_sequence(fields: Fields, size: int) -> Surround:
    whole = Surround((), (), ([], [], []))
    for inner in fields.objects("processors"):
        outer = build_post(inner, size)
        pair = _nested(outer.pair, whole.pair) if outer.pair and whole.pair else None
        whole = Surround([*outer.before, *whole.before], [*whole.after, *outer.after], pair)
    return whole


def _nested(outer: PairSurroundings, inner: PairSurroundings) -> PairSurroundings:
    return outer[0] + inner[0], inner[1] + outer[1], inner[2] + outer[2]


def _template(fields: Fields, size: int) -> Surround:
    single = _template_ids(fields, "single", size)
    if len(single) != 2:
        raise fields.problem("a template for one text must hold the text A exactly once")
    pair = _template_ids(fields, "pair", size) if "pair" in fields.value else []
    around = (pair[0], pair[1], pair[2]) if len(pair) == 3 else None
    return Surround(single[0], single[1], around)


def _template_ids(fields: Fields, template: str, size: int) -> list[list[int]]:
    """The ids before, between and after a template's texts, which must be A, B, … in order."""
    special = fields.object("special_tokens")
    ids: list[list[int]] = [[]]
    for piece in fields.objects(template):
        if "Sequence" in piece.value:
            if piece.object("Sequence").text("id") != "AB"[len(ids) - 1 : len(ids)]:
                raise piece.problem(f"the template {template!r} must hold its texts once, in order")
            ids.append([])
        else:
            name = piece.object("SpecialToken").text("id")
            found = special.object(name).items("ids")
            ids[-1] += [_checked_id(special, token_id, size) for token_id in found]
    return ids
