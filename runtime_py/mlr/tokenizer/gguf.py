"""Tokenizers from GGUF metadata (`tokenizer.ggml.*`), id for id what llama.cpp does with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from mlr.errors import TokenizerError
from mlr.tokenizer.added_tokens import LongestFirst
from mlr.tokenizer.decoders import BytesDecoder
from mlr.tokenizer.models.sentencepiece import SPACE, SentencePieceBPE
from mlr.tokenizer.post_processors import Surround
from mlr.tokenizer.special import END_TOKENS, HIDDEN_FROM_END
from mlr.tokenizer.tokenizer import SpecialTokens, Tokenizer
from mlr.tokenizer.vocabulary import Vocabulary, byte_token_value, byte_tokens

__all__ = ["from_gguf"]

_PREFIX = "tokenizer.ggml."


class TokenType(IntEnum):
    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


def from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a GGUF file's metadata describes.

    TokenizerError when the metadata is inconsistent, or names a kind of tokenizer or a
    pre-tokenizer that is not supported.
    """
    fields = _Fields(metadata)
    kind = fields.text("model")
    if kind == "llama":
        return _sentencepiece(fields)
    raise TokenizerError(
        f"tokenizer.ggml.model is {kind!r}, which is not supported; supported: llama"
    )


def _sentencepiece(fields: _Fields) -> Tokenizer:
    vocabulary = fields.vocabulary()
    types = fields.types(vocabulary)
    ends = _end_tokens(fields, vocabulary, types)
    special = fields.special(len(vocabulary), {"bos": 1, "eos": 2, "unk": 0})
    prefix = fields.flag("add_space_prefix", True)
    values = _byte_values(vocabulary, types)
    tokens = vocabulary.tokens

    def token_bytes(token_id: int) -> bytes:
        value = values.get(token_id)
        if value is not None:
            return bytes((value,))
        text = tokens[token_id]
        if types[token_id] == TokenType.NORMAL:
            text = text.replace(SPACE, " ")
        elif types[token_id] in (TokenType.UNUSED, TokenType.UNDEFINED):
            text = ""
        return text.encode()

    def normalize(text: str) -> str:
        return (f" {text}" if prefix else text).replace(" ", SPACE)

    return Tokenizer(
        vocabulary=vocabulary,
        added_tokens=_added_tokens(vocabulary, types),
        normalizer=normalize,
        pre_tokenizer=None,
        model=SentencePieceBPE(
            vocabulary, fields.scores(len(vocabulary)), byte_tokens(vocabulary), special["unk"]
        ),
        post_processor=_surround(fields, special, bos=True, eos=False),
        decoder=BytesDecoder(token_bytes, drop_space=prefix),
        special=SpecialTokens(
            bos=special["bos"],
            eos=special["eos"],
            unk=special["unk"],
            pad=special["pad"],
            ends=frozenset(ends | {i for i in (special["eos"], special["eot"]) if i is not None}),
            hidden=_hidden(types),
        ),
    )


class _Fields:
    """Typed, checked access to the metadata."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata

    def text(self, name: str, default: str | None = None) -> str:
        value = self._metadata.get(_PREFIX + name, default)
        if not isinstance(value, str):
            raise TokenizerError(
                f"{_PREFIX}{name} is missing or not text: the file holds no usable tokenizer"
            )
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._metadata.get(_PREFIX + name, default)
        if not isinstance(value, bool):
            raise TokenizerError(f"{_PREFIX}{name} must be true or false, not {value!r}")
        return value

    def token_id(self, name: str, size: int, default: int | None = None) -> int | None:
        """An id from the metadata. A default outside the vocabulary does not count."""
        key = _PREFIX + name
        if key not in self._metadata:
            return default if default is not None and default < size else None
        value = self._metadata[key]
        if type(value) is not int or not 0 <= value < size:
            # 0xFFFFFFFF is how some converters write "there is none".
            if value in (-1, 0xFFFFFFFF):
                return None
            raise TokenizerError(f"{key} is {value!r}; the vocabulary has ids 0 to {size - 1}")
        return value

    def special(self, size: int, defaults: Mapping[str, int]) -> dict[str, int | None]:
        names = {
            "bos": "bos_token_id",
            "eos": "eos_token_id",
            "unk": "unknown_token_id",
            "sep": "seperator_token_id",  # spelled so in the format
            "pad": "padding_token_id",
            "eot": "eot_token_id",
            "eom": "eom_token_id",
        }
        return {
            short: self.token_id(name, size, defaults.get(short)) for short, name in names.items()
        }

    def vocabulary(self) -> Vocabulary:
        return Vocabulary.from_list(self._metadata.get(_PREFIX + "tokens"), _PREFIX + "tokens")

    def types(self, vocabulary: Vocabulary) -> list[int]:
        """The type of every token (see `TokenType`); NORMAL for all when the file has none."""
        size = len(vocabulary)
        values = self._numbers("token_type", size)
        if values is None:
            return [TokenType.NORMAL] * size
        if not set(values) <= set(TokenType):
            unknown = sorted(set(values) - set(TokenType))[0]
            raise TokenizerError(f"{_PREFIX}token_type: there is no token type {unknown!r}")
        return [int(value) for value in values]

    def scores(self, size: int) -> Sequence[float]:
        values = self._numbers("scores", size)
        if values is None:
            return [0.0] * size
        if not all(map(math.isfinite, values)):
            raise TokenizerError(f"{_PREFIX}scores: every score must be a finite number")
        return values

    def _numbers(self, name: str, size: int) -> Sequence[float] | None:
        values = self._metadata.get(_PREFIX + name)
        if values is None:
            return None
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise TokenizerError(f"{_PREFIX}{name} must be a list of numbers")
        if len(values) != size:
            raise TokenizerError(
                f"{_PREFIX}{name} has {len(values)} entries for {size} tokens; there must be one each"
            )
        if set(map(type, values)) - {int, float}:
            raise TokenizerError(f"{_PREFIX}{name}: every entry must be a number")
        return values


def _byte_values(vocabulary: Vocabulary, types: Sequence[int]) -> dict[int, int]:
    """The byte of every token of type BYTE."""
    values: dict[int, int] = {}
    if TokenType.BYTE not in types:
        return values
    for token_id, kind in enumerate(types):
        if kind == TokenType.BYTE:
            value = byte_token_value(vocabulary.tokens[token_id])
            if value is None:
                raise TokenizerError(
                    f"{_PREFIX}tokens: token {token_id} is a byte token but spelled "
                    f"{vocabulary.tokens[token_id]!r}; byte tokens go from '<0x00>' to '<0xFF>'"
                )
            values[token_id] = value
    return values


def _end_tokens(fields: _Fields, vocabulary: Vocabulary, types: list[int]) -> set[int]:
    """Ids of the tokens that end a turn, known by their names; they count as control tokens
    whatever type the file gives them, because converters often get it wrong."""
    ends: set[int] = set()
    for name in END_TOKENS:
        token_id = vocabulary.ids.get(name)
        if token_id is not None:
            ends.add(token_id)
            types[token_id] = TokenType.CONTROL
    for others, name, kind in HIDDEN_FROM_END:
        token_id = vocabulary.ids.get(name)
        if token_id is not None and all(other in vocabulary.ids for other in others):
            ends.discard(token_id)
            types[token_id] = TokenType[kind]
    return ends


def _added_tokens(vocabulary: Vocabulary, types: Sequence[int]) -> LongestFirst:
    tokens: dict[str, int] = {}
    special: set[str] = set()
    for token_id, kind in enumerate(types):
        if kind in _CUT_OUT and vocabulary.tokens[token_id]:
            text = vocabulary.tokens[token_id]
            tokens[text] = token_id
            if kind != TokenType.USER_DEFINED:
                special.add(text)
    return LongestFirst(tokens, frozenset(special))


_CUT_OUT = frozenset({TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN})


def _hidden(types: Sequence[int]) -> frozenset[int]:
    return frozenset(
        token_id
        for token_id, kind in enumerate(types)
        if kind in (TokenType.CONTROL, TokenType.UNKNOWN)
    )


def _surround(
    fields: _Fields, special: Mapping[str, int | None], *, bos: bool, eos: bool
) -> Surround | None:
    before: list[int] = []
    after: list[int] = []
    for flag, default, name, ids in (
        ("add_bos_token", bos, "bos", before),
        ("add_eos_token", eos, "eos", after),
    ):
        if fields.flag(flag, default):
            token_id = special[name]
            if token_id is None:
                raise TokenizerError(
                    f"{_PREFIX}{flag} is set, but there is no {_PREFIX}{name}_token_id"
                )
            ids.append(token_id)
    return Surround(before, after) if before or after else None
