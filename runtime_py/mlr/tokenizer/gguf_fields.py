"""Checked access to the tokenizer's part of a GGUF file's metadata."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from mlr.errors import TokenizerError
from mlr.tokenizer.packed import PackedScores, PackedVocabulary
from mlr.tokenizer.special import END_TOKENS, HIDDEN_FROM_END
from mlr.tokenizer.vocabulary import ListedVocabulary, Vocabulary, byte_token_value

__all__ = ["PREFIX", "GgufFields", "TokenType"]

PREFIX = "tokenizer.ggml."

_NONE = (-1, 0xFFFFFFFF)
"""How some converters write that there is no such token."""

_SPECIAL = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # spelled so in the format
    "pad": "padding_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
}


class TokenType(IntEnum):
    """What kind of token an entry of `tokenizer.ggml.token_type` says it is."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class GgufFields:
    """The vocabulary, the token types and the special tokens, read and checked at once.

    `types[id]` is a TokenType. Tokens that end a turn, known by their names, count as control
    tokens whatever the file says, because converters often get it wrong; `ends` has their ids.
    """

    def __init__(self, metadata: Mapping[str, Any], defaults: Mapping[str, int]) -> None:
        """`defaults` are ids of special tokens, where the kind of tokenizer has usual ones."""
        self._metadata = metadata
        self.vocabulary = _vocabulary(metadata.get(PREFIX + "tokens"), PREFIX + "tokens")
        self.size = len(self.vocabulary)
        self.types = self._types()
        self.byte_values = self._byte_values()
        self.special = {
            short: self._token_id(name, defaults.get(short)) for short, name in _SPECIAL.items()
        }
        self.ends = self._ends()

    def text(self, name: str, default: str) -> str:
        value = self._metadata.get(PREFIX + name, default)
        if not isinstance(value, str):
            raise TokenizerError(f"{PREFIX}{name} must be text, not {value!r}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._metadata.get(PREFIX + name, default)
        if not isinstance(value, bool):
            raise TokenizerError(f"{PREFIX}{name} must be true or false, not {value!r}")
        return value

    def get(self, name: str) -> Any:
        """A field as it is, None when it is missing."""
        return self._metadata.get(PREFIX + name)

    def scores(self) -> Sequence[float] | PackedScores:
        """The score of every token; 0 for all when the file has none."""
        packed = self.get("scores")
        if isinstance(packed, PackedScores):
            return packed
        values = self._numbers("scores")
        if values is None:
            return array("d", bytes(8 * self.size))
        if not all(map(math.isfinite, values)):
            raise TokenizerError(f"{PREFIX}scores: every score must be a finite number")
        return array("d", values)

    def required(self, name: str, why: str) -> int:
        """The id of a special token that something needs."""
        token_id = self.special[name]
        if token_id is None:
            raise TokenizerError(f"{why}, but there is no {PREFIX}{_SPECIAL[name]}")
        return token_id

    def with_type(self, *kinds: TokenType) -> list[int]:
        """The ids of all tokens of these types."""
        pattern = b"[%s]" % b"".join(b"\\x%02x" % kind for kind in kinds)
        return [match.start() for match in re.finditer(pattern, self.types)]

    def _token_id(self, name: str, default: int | None) -> int | None:
        value = self.get(name)
        if value is None:
            return default if default is not None and default < self.size else None
        if type(value) is not int or not 0 <= value < self.size:
            if value in _NONE:
                return None
            raise TokenizerError(
                f"{PREFIX}{name} is {value!r}; the vocabulary has ids 0 to {self.size - 1}"
            )
        return value

    def _types(self) -> bytearray:
        values = self._numbers("token_type")
        if values is None:
            return bytearray([TokenType.NORMAL]) * self.size
        unknown = set(values) - set(TokenType)
        if unknown:
            raise TokenizerError(f"{PREFIX}token_type: there is no type {min(unknown)!r}")
        return bytearray(values if isinstance(values, memoryview) else map(int, values))

    def _numbers(self, name: str) -> Sequence[float] | None:
        values = self.get(name)
        if values is None:
            return None
        if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
            raise TokenizerError(f"{PREFIX}{name} must be a list of numbers")
        if len(values) != self.size:
            raise TokenizerError(
                f"{PREFIX}{name} has {len(values)} entries for {self.size} tokens; "
                "there must be one for each"
            )
        if isinstance(values, memoryview):
            return values
        if set(map(type, values)) - {int, float}:
            raise TokenizerError(f"{PREFIX}{name}: every entry must be a number")
        return values

    def _byte_values(self) -> dict[int, int]:
        values: dict[int, int] = {}
        if TokenType.BYTE not in self.types:
            return values
        for token_id in self.with_type(TokenType.BYTE):
            text = self.vocabulary.text(token_id)
            value = byte_token_value(text)
            if value is None:
                raise TokenizerError(
                    f"{PREFIX}tokens: token {token_id} is a byte token but spelled {text!r}; "
                    "byte tokens go from '<0x00>' to '<0xFF>'"
                )
            values[token_id] = value
        return values

    def _ends(self) -> frozenset[int]:
        find, types = self.vocabulary.find, self.types
        ends: set[int] = set()
        for name in END_TOKENS:
            token_id = find(name)
            if token_id is not None:
                ends.add(token_id)
                types[token_id] = TokenType.CONTROL
        for others, name, kind in HIDDEN_FROM_END:
            token_id = find(name)
            if token_id is not None and None not in map(find, others):
                ends.discard(token_id)
                types[token_id] = TokenType[kind]
        named = {self.special[name] for name in ("eos", "eot", "eom")}
        return frozenset(ends | {token_id for token_id in named if token_id is not None})


def _vocabulary(tokens: Any, where: str) -> Vocabulary:
    if isinstance(tokens, PackedVocabulary):
        return tokens
    return ListedVocabulary.from_list(tokens, where)
