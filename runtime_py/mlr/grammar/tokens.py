"""Which tokens may come next: a vocabulary walked against the states of a grammar.

A vocabulary has up to hundreds of thousands of tokens, and a mask is wanted for every token that
is generated, so most tokens are not looked at one by one:

- Tokens are sorted by their bytes. What a prefix rules out is skipped with all that begins so.
- Inside a text most tokens are allowed. From many states any character out of some set leads to
  the same state (within a JSON string: all but quotes, backslashes and control characters). Such
  tokens are allowed by how many characters they have, and that mask is made once for the set;
  only the other tokens, a few thousand, are walked.
- Masks are remembered by state.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mlr.grammar.matcher import State

__all__ = ["TokenMasks"]

MAX_MASKS = 512
MAX_SPLITS = 8
FEW_CHARACTERS = 16
"""A set of fewer characters is not worth a mask of its own: few tokens consist of them."""

# The bytes that begin a character, and the range of the byte after them.
_LEADS = (
    (range(0xC2, 0xE0), range(0x80, 0xC0), 0),
    (range(0xE0, 0xE1), range(0xA0, 0xC0), 1),
    ((*range(0xE1, 0xED), 0xEE, 0xEF), range(0x80, 0xC0), 1),
    (range(0xED, 0xEE), range(0x80, 0xA0), 1),
    (range(0xF0, 0xF1), range(0x90, 0xC0), 2),
    (range(0xF1, 0xF4), range(0x80, 0xC0), 2),
    (range(0xF4, 0xF5), range(0x80, 0x90), 2),
)
_CONTINUATIONS = range(0x80, 0xC0)


@dataclass(frozen=True, slots=True)
class _Set:
    """A set of characters: some of ASCII, and either all others or none of them."""

    ascii: bytes
    others: bool


@dataclass(frozen=True, slots=True)
class _Split:
    """The tokens that consist of a set's characters, and the rest."""

    up_to: list[bytes]
    """Masks of the tokens with at most so many characters, by that number."""
    rest: _Sorted


class TokenMasks:
    """The vocabulary of a model, as masks of the tokens that a grammar allows.

    A mask is `ceil(n_vocab / 32)` little-endian 32-bit words; bit i % 32 of word i // 32 is
    token i.
    """

    def __init__(self, token_bytes: Sequence[bytes], ends: Iterable[int], n_vocab: int) -> None:
        """`token_bytes[i]` is what token i adds to a text, empty for one that is never allowed;
        `ends` are the tokens that end a text. Tokens from `n_vocab` on do not exist."""
        self._tokens = token_bytes[:n_vocab]
        self._ends = [token for token in ends if token < n_vocab]
        self._size = 4 * -(-n_vocab // 32)
        self._all = _Sorted(self._tokens, range(len(self._tokens)))
        self._texts: list[str | None] | None = None
        self._split = lru_cache(MAX_SPLITS)(self._make_split)
        self._mask = lru_cache(MAX_MASKS)(self._make_mask)

    def mask(self, state: State) -> bytes:
        """The tokens that may follow in `state`; end tokens are among them where it may end."""
        return self._mask(state)

    def _make_mask(self, state: State) -> bytes:
        state.matcher.begin_step()
        mask, tokens = bytearray(self._size), self._all
        uniform = _uniform_set(state)
        if uniform is not None:
            split = self._split(uniform)
            count = _uniform_length(state, uniform, len(split.up_to) - 1)
            if count is not None:
                mask, tokens = bytearray(split.up_to[count]), split.rest
        tokens.mark(state, mask)
        if state.accepting:
            for token in self._ends:
                mask[token >> 3] |= 1 << (token & 7)
        return bytes(mask)

    def _make_split(self, characters: _Set) -> _Split:
        if self._texts is None:
            self._texts = [_decoded(token) for token in self._tokens]
        allowed = re.escape(characters.ascii.decode("ascii"))
        others = "\x80-\U0010ffff" if characters.others else ""
        matches = re.compile(f"[{allowed}{others}]+").fullmatch
        by_length: dict[int, list[int]] = {}
        rest: list[int] = []
        for token, text in enumerate(self._texts):
            if text and matches(text):
                by_length.setdefault(len(text), []).append(token)
            else:
                rest.append(token)
        mask = bytearray(self._size)
        up_to = [bytes(mask)]
        for length in range(1, max(by_length, default=0) + 1):
            for token in by_length.get(length, ()):
                mask[token >> 3] |= 1 << (token & 7)
            up_to.append(bytes(mask))
        return _Split(up_to, _Sorted(self._tokens, rest))


def _decoded(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


def _uniform_set(state: State) -> _Set | None:
    """The largest set of characters that all lead to the same state, if it is large."""
    table = state.table
    groups: dict[State, list[int]] = {}
    for byte in state.allowed:
        after = table[byte]
        if byte < 0x80 and after is not None:
            groups.setdefault(after, []).append(byte)
    after, members = max(groups.items(), key=lambda item: len(item[1]), default=(None, []))
    if after is None or len(members) < FEW_CHARACTERS:
        return None
    return _Set(bytes(members), _others_lead(state, after))


def _others_lead(state: State, target: State) -> bool:
    """Whether every character beyond ASCII leads from `state` to `target`."""
    within: dict[tuple[int, State | None], bool] = {}  # by bytes still to come

    def leads(after: State | None, seconds: Iterable[int], more: int) -> bool:
        if after is None:
            return False
        nexts = {after.table[byte] for byte in seconds}
        if more == 0:
            return nexts == {target}
        return all(continues(item, more) for item in nexts)

    def continues(after: State | None, more: int) -> bool:
        key = (more, after)
        if key not in within:
            within[key] = leads(after, _CONTINUATIONS, more - 1)
        return within[key]

    return all(
        leads(after, seconds, more)
        for firsts, seconds, more in _LEADS
        for after in {state.table[byte] for byte in firsts}
    )


def _uniform_length(state: State, characters: _Set, longest: int) -> int | None:
    """How many characters out of a set may follow one another from `state`, at most `longest`.

    None when not all of the set's characters lead to the same states on the way, or when some
    of them may still follow after the last.
    """
    for count in range(longest):
        after = state.table[characters.ascii[0]]
        if after is None:
            if any(state.table[byte] is not None for byte in characters.ascii) or (
                characters.others and state.allowed[-1:] >= b"\x80"
            ):
                return None
            return count
        if any(state.table[byte] is not after for byte in characters.ascii):
            return None
        if characters.others and not _others_lead(state, after):
            return None
        if after is state:
            return longest
        state = after
    return longest


class _Sorted:
    """Tokens by their first byte; those of one first byte are sorted when they are first met."""

    def __init__(self, tokens: Sequence[bytes], ids: Iterable[int]) -> None:
        self._buckets: list[list[int] | None] = [None] * 256
        self._blocks: list[_Block | None] = [None] * 256
        self._tokens = tokens
        buckets = self._buckets
        for token in ids:
            data = tokens[token]
            if data:
                bucket = buckets[data[0]]
                if bucket is None:
                    buckets[data[0]] = [token]
                else:
                    bucket.append(token)

    def mark(self, state: State, mask: bytearray) -> None:
        """Set the bits of the tokens that may follow in `state`."""
        table = state.table
        for byte in state.allowed:
            after = table[byte]
            bucket = self._buckets[byte]
            if after is None or bucket is None:
                continue
            block = self._blocks[byte]
            if block is None:
                block = self._blocks[byte] = _Block(self._tokens, bucket)
            block.mark(after, mask)


class _Block:
    """Tokens that begin with the same byte, sorted, with the length of each one's prefix that the
    one before has too."""

    def __init__(self, tokens: Sequence[bytes], ids: list[int]) -> None:
        get: Callable[[int], bytes] = tokens.__getitem__
        self._ids = sorted(ids, key=get)
        self._tokens = [tokens[token] for token in self._ids]
        self._shared = [0]
        append = self._shared.append
        before = self._tokens[0]
        for token in self._tokens[1:]:
            count = 1
            for a, b in zip(before[1:], token[1:], strict=False):
                if a != b:
                    break
                count += 1
            append(count)
            before = token
        self._longest = max(map(len, self._tokens))

    def mark(self, state: State, mask: bytearray) -> None:
        """Set the bits of the tokens whose bytes after the first may follow in `state`."""
        tokens, shared, ids = self._tokens, self._shared, self._ids
        states = [state] * (self._longest + 1)  # by how many bytes have been taken
        end = len(tokens)
        index = 0
        depth = 1
        while index < end:
            token = tokens[index]
            if index:
                depth = shared[index]
            state = states[depth]
            for byte in token[depth:]:
                after = state.table[byte]
                if after is None:
                    break
                depth += 1
                state = states[depth] = after
            else:
                number = ids[index]
                mask[number >> 3] |= 1 << (number & 7)
                index += 1
                continue
            index = self._skip(index, depth, state)

    def _skip(self, index: int, depth: int, state: State) -> int:
        """The next token that may be allowed, when of token `index` only `depth` bytes are."""
        token = self._tokens[index]
        allowed = state.allowed
        place = bisect_right(allowed, token[depth])
        if place < len(allowed):
            key = token[:depth] + allowed[place : place + 1]
        else:
            # Past all that begin like this. An allowed byte is never FF: that is no UTF-8.
            key = token[: depth - 1] + bytes((token[depth - 1] + 1,))
        return bisect_left(self._tokens, key, index + 1)
