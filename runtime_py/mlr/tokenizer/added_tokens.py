"""Cutting added tokens (control tokens, user-defined tokens) out of a text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from mlr.tokenizer.patterns import Pattern, class_pattern
from mlr.tokenizer.unicode import WHITESPACE, character_set

__all__ = ["AddedToken", "AddedTokens", "LeftmostLongest", "LongestFirst", "TokenFinder"]

_WALK_ABOVE = 64

_Normalizer = Callable[[str], str]


class AddedTokens(Protocol):
    def split(
        self, text: str, normalizer: _Normalizer | None, parse_special: bool
    ) -> Iterator[str | int]:
        """Token ids, and between them the normalized texts."""
        ...


class TokenFinder:
    """Says which of many fixed strings occur in a text, without trying every one of them.

    The strings are grouped by their first two characters. A group whose start does not occur is
    done in one search. A small group is searched for string by string, a large one by looking
    at each place where its start occurs.
    """

    def __init__(self, strings: Collection[str]) -> None:
        """`strings` are kept, and asked for what they contain: a set or a dict of them."""
        groups: dict[str, list[str]] = {}
        for string in strings:
            groups.setdefault(string[:2], []).append(string)
        self._strings = strings
        self._groups = [
            (start, members if len(members) <= _WALK_ABOVE else (), sorted(set(map(len, members))))
            for start, members in groups.items()
        ]

    def present(self, text: str) -> set[str]:
        found: set[str] = set()
        for start, members, lengths in self._groups:
            position = text.find(start)
            if position < 0:
                continue
            if members:
                found.update(member for member in members if member in text)
                continue
            while position >= 0:
                for length in lengths:
                    candidate = text[position : position + length]
                    if candidate in self._strings:
                        found.add(candidate)
                position = text.find(start, position + 1)
        return found


class LongestFirst:
    """The rule of GGUF tokenizers: the longest token (in bytes) is cut out everywhere first,
    then the next longest out of what is left, whatever comes first in the text."""

    def __init__(self, tokens: Mapping[str, int], special: frozenset[int]) -> None:
        """`special` are the ids of the tokens that only count when special tokens are parsed."""
        self._tokens = tokens
        self._special = special
        self._finder = TokenFinder(tokens)

    def split(
        self, text: str, normalizer: _Normalizer | None, parse_special: bool
    ) -> Iterator[str | int]:
        present, tokens = self._finder.present(text), self._tokens
        if not parse_special:
            present = {token for token in present if tokens[token] not in self._special}
        fragments: list[str | int] = [text]
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


@dataclass(frozen=True)
class AddedToken:
    """An added token of tokenizer.json.

    `single_word` wants no letters or digits beside it; `lstrip` and `rstrip` take the white
    space before and after it along; `normalized` looks for it in the normalized text.
    """

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False


class LeftmostLongest:
    """The rule of tokenizer.json: from left to right, the longest token that begins earliest.

    Tokens that are not `normalized` are cut out first, then what is left is normalized, and the
    others are cut out of that.
    """

    def __init__(self, tokens: Sequence[AddedToken], normalizer: _Normalizer | None) -> None:
        self._raw = _Matcher({token.content: token for token in tokens if not token.normalized})
        normalize = normalizer or (lambda text: text)
        self._normalized = _Matcher(
            {normalize(token.content): token for token in tokens if token.normalized}
        )

    def split(
        self, text: str, normalizer: _Normalizer | None, parse_special: bool
    ) -> Iterator[str | int]:
        for fragment in self._raw.split(text, parse_special):
            if isinstance(fragment, int):
                yield fragment
            else:
                normalized = normalizer(fragment) if normalizer else fragment
                yield from self._normalized.split(normalized, parse_special)


@cache
def _word() -> Pattern:
    return class_pattern(character_set("WORD"))


class _Matcher:
    def __init__(self, tokens: dict[str, AddedToken]) -> None:
        tokens.pop("", None)
        self._tokens = tokens
        self._finder = TokenFinder(tokens)

    def split(self, text: str, parse_special: bool) -> Iterator[str | int]:
        done = 0
        for start, end, token in self._matches(text):
            if token.special and not parse_special:
                continue
            if token.single_word and (
                (start > 0 and _word().search(text[start - 1]))
                or (end < len(text) and _word().search(text[end]))
            ):
                continue
            if token.lstrip:
                start = max(len(text[:start].rstrip(WHITESPACE)), done)
            if token.rstrip:
                end = len(text) - len(text[end:].lstrip(WHITESPACE))
            if done < start:
                yield text[done:start]
            yield token.id
            done = end
        if done != len(text):
            yield text[done:]

    def _matches(self, text: str) -> Iterator[tuple[int, int, AddedToken]]:
        """Non-overlapping occurrences, from left to right, the longest at each place."""
        found: list[tuple[int, int, str]] = []
        for content in self._finder.present(text):
            start = text.find(content)
            while start >= 0:
                found.append((start, -len(content), content))
                start = text.find(content, start + 1)
        position = 0
        for start, negative, content in sorted(found):
            if start >= position:
                position = start - negative
                yield start, position, self._tokens[content]
