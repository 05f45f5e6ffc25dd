"""The table between token text and token id, and the checks that every file's tokens pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

from mlr.errors import TokenizerError

__all__ = [
    "MAX_TOKENS",
    "MAX_TOKEN_LENGTH",
    "SPACE",
    "ListedVocabulary",
    "Vocabulary",
    "byte_token_value",
    "byte_tokens",
]

SPACE = "▁"  # U+2581, how SentencePiece writes a space

MAX_TOKENS = 4_000_000
"""More tokens than any published vocabulary has; a larger count is an attack or a mistake."""

MAX_TOKEN_LENGTH = 65_536
"""Characters in one token. Real tokens stay under a few hundred."""

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>", re.ASCII)


class Vocabulary(Protocol):
    """Token texts by id, and ids by text.

    An id without a token (a hole) and a token without text have the text `""`, and no text has
    their ids, so nothing can become them.
    """

    @property
    def find(self) -> Callable[[str], int | None]:
        """The id of the token with a text, or None."""
        ...

    def __len__(self) -> int: ...

    def text(self, token_id: int) -> str:
        """The text of a token; the id must be one."""
        ...

    def utf8(self, token_id: int) -> bytes:
        """That text in UTF-8."""
        ...

    def texts(self) -> Iterator[str]:
        """The texts of all tokens, in the order of their ids."""
        ...

    def before_space(self) -> set[str]:
        """The characters that stand right before a `▁` within a token."""
        ...


class ListedVocabulary:
    """A vocabulary in a list and a dict: `tokens[id]` is the text, `ids[text]` the id."""

    __slots__ = ("find", "ids", "text", "tokens")

    def __init__(self, tokens: list[str], ids: dict[str, int]) -> None:
        self.tokens = tokens
        self.ids = ids
        self.find = ids.get
        self.text = tokens.__getitem__

    def __len__(self) -> int:
        return len(self.tokens)

    def utf8(self, token_id: int) -> bytes:
        return self.tokens[token_id].encode()

    def texts(self) -> Iterator[str]:
        return iter(self.tokens)

    def before_space(self) -> set[str]:
        found: set[str] = set()
        for token in self.tokens:
            if token.rfind(SPACE) > 0:
                found.update(before for before, after in pairwise(token) if after == SPACE)
        return found

    @classmethod
    def from_list(cls, tokens: Any, where: str) -> ListedVocabulary:
        """Tokens in id order. TokenizerError when they are not texts, or not all different."""
        if not isinstance(tokens, (list, tuple)):
            raise TokenizerError(
                f"{where}: expected a list of tokens, found {type(tokens).__name__}"
            )
        if not tokens:
            raise TokenizerError(f"{where}: the vocabulary is empty")
        if len(tokens) > MAX_TOKENS:
            raise TokenizerError(f"{where}: {len(tokens)} tokens, more than the limit {MAX_TOKENS}")
        _check_texts(tokens, where)
        ids = dict(zip(tokens, range(len(tokens)), strict=True))
        empty = tokens.count("") if "" in ids else 0
        if len(ids) != len(tokens) - max(0, empty - 1):
            _name_duplicate(tokens, where)
        ids.pop("", None)
        return cls(list(tokens), ids)

    @classmethod
    def from_mapping(cls, vocab: Any, where: str) -> ListedVocabulary:
        """Tokens as a mapping of text to id, as in tokenizer.json; ids may have holes."""
        if not isinstance(vocab, dict):
            raise TokenizerError(
                f"{where}: expected an object of token texts to ids, found {type(vocab).__name__}"
            )
        if len(vocab) > MAX_TOKENS:
            raise TokenizerError(f"{where}: {len(vocab)} tokens, more than the limit {MAX_TOKENS}")
        texts = list(vocab)
        _check_texts(texts, where)
        if set(map(type, vocab.values())) - {int}:
            raise TokenizerError(f"{where}: token ids must be whole numbers")
        ids = dict(vocab)
        if not ids:
            return cls([], {})
        if min(ids.values()) < 0 or max(ids.values()) >= MAX_TOKENS:
            raise TokenizerError(f"{where}: token ids must lie between 0 and {MAX_TOKENS - 1}")
        size = max(ids.values()) + 1
        if size > 4 * len(ids) + 65_536:
            raise TokenizerError(
                f"{where}: the highest id is {size - 1}, far beyond the {len(ids)} tokens"
            )
        tokens = [""] * size
        for text, index in ids.items():
            tokens[index] = text
        if len(set(ids.values())) != len(ids):
            raise TokenizerError(f"{where}: two tokens share one id")
        ids.pop("", None)
        return cls(tokens, ids)

    def add(self, text: str, index: int) -> None:
        """Put an added token into the table; it must fit what is there (checked by callers)."""
        if index >= len(self.tokens):
            self.tokens.extend([""] * (index + 1 - len(self.tokens)))
        self.tokens[index] = text
        self.ids[text] = index


def _check_texts(tokens: Sequence[Any], where: str) -> None:
    if set(map(type, tokens)) - {str}:
        index = next(i for i, token in enumerate(tokens) if type(token) is not str)
        raise TokenizerError(f"{where}: token {index} is not text but {tokens[index]!r}")
    if max(map(len, tokens), default=0) > MAX_TOKEN_LENGTH:
        raise TokenizerError(f"{where}: a token is longer than {MAX_TOKEN_LENGTH} characters")


def _name_duplicate(tokens: Sequence[str], where: str) -> None:
    seen: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if token and token in seen:
            raise TokenizerError(
                f"{where}: tokens {seen[token]} and {index} are both {token!r}; "
                "every token must be different"
            )
        seen[token] = index


def byte_token_value(text: str) -> int | None:
    """The byte that `<0xNN>` stands for, or None for any other text."""
    match = _BYTE_TOKEN.fullmatch(text)
    return int(match[1], 16) if match else None


def byte_tokens(vocabulary: Vocabulary) -> list[int | None]:
    """The id of the token `<0xNN>` for every byte value; None where there is no such token."""
    return [vocabulary.find(f"<0x{value:02X}>") for value in range(256)]
