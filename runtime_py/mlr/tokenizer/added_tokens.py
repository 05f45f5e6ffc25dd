"""Cutting added tokens (control tokens, user-defined tokens) out of a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

__all__ = ["AddedTokens", "LongestFirst", "TokenFinder"]

_WALK_ABOVE = 64


class AddedTokens(Protocol):
    def split(
        self, text: str, normalizer: Callable[[str], str] | None, parse_special: bool
    ) -> Iterator[str | int]:
        """Token ids, and between them the normalized texts."""
        ...


class TokenFinder:
    """Says which of many fixed strings occur in a text, without trying every one of them.

    The strings are grouped by their first two characters. A group whose start does not occur is
    done in one search. A small group is searched for string by string, a large one by looking
    at each place where its start occurs.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        groups: dict[str, set[str]] = {}
        for string in strings:
            groups.setdefault(string[:2], set()).add(string)
        self._groups = [
            (start, members, sorted({len(member) for member in members}))
            for start, members in groups.items()
        ]

    def present(self, text: str) -> set[str]:
        found: set[str] = set()
        for start, members, lengths in self._groups:
            position = text.find(start)
            if position < 0:
                continue
            if len(members) <= _WALK_ABOVE:
                found.update(member for member in members if member in text)
                continue
            while position >= 0:
                for length in lengths:
                    candidate = text[position : position + length]
                    if candidate in members:
                        found.add(candidate)
                position = text.find(start, position + 1)
        return found


class LongestFirst:
    """The rule of GGUF tokenizers: the longest token (in bytes) is cut out everywhere first,
    then the next longest out of what is left, whatever comes first in the text."""

    def __init__(self, tokens: dict[str, int], special: frozenset[str]) -> None:
        """`special` are the tokens that only count when special tokens are parsed."""
        self._tokens = tokens
        self._special = special
        self._finder = TokenFinder(tokens)

    def split(
        self, text: str, normalizer: Callable[[str], str] | None, parse_special: bool
    ) -> Iterator[str | int]:
        present = self._finder.present(text)
        if not parse_special:
            present -= self._special
        fragments: list[str | int] = [text]
        tokens = self._tokens
        for token in sorted(present, key=lambda token: (-len(token.encode()), tokens[token])):
            fragments = _cut(fragments, token, tokens[token])
        for fragment in fragments:
            if isinstance(fragment, str):
                if fragment:
                    yield normalizer(fragment) if normalizer else fragment
            else:
                yield fragment


def _cut(fragments: list[str | int], token: str, token_id: int) -> list[str | int]:
    result: list[str | int] = []
    for fragment in fragments:
        if isinstance(fragment, str) and token in fragment:
            for index, part in enumerate(fragment.split(token)):
                if index:
                    result.append(token_id)
                if part:
                    result.append(part)
        else:
            result.append(fragment)
    return result
