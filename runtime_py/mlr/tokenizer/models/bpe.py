"""Byte-pair encoding with a list of merges, as in tokenizer.json and GGUF's "gpt2"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import add, itemgetter
from typing import Protocol

from mlr.errors import TokenizerError
from mlr.tokenizer.models.cache import WordCache
from mlr.tokenizer.models.merging import merge
from mlr.tokenizer.models.sentencepiece import safe_boundaries
from mlr.tokenizer.vocabulary import ListedVocabulary, Vocabulary, byte_tokens

__all__ = ["BPE", "BPEOptions", "ListedMerges", "Merges"]


class Merges(Protocol):
    """Which neighbours merge, and in which order."""

    def rank(self, left: str, right: str) -> int | None:
        """How soon two neighbours merge, lower first; None: never."""
        ...


class ListedMerges:
    """Merges in a dict: `ranks[left + separator + right]`.

    Keys are one text, not a pair, because building half a million pairs takes long. The
    separator is a character that no merged token holds.
    """

    def __init__(self, ranks: dict[str, int], separator: str) -> None:
        self.ranks = ranks
        self.separator = separator

    def rank(self, left: str, right: str) -> int | None:
        return self.ranks.get(left + self.separator + right)

    @classmethod
    def read(
        cls,
        merges: object,
        vocabulary: ListedVocabulary,
        prefix: str,
        where: str,
        *,
        first: bool = False,
    ) -> ListedMerges:
        """From "left right" texts or [left, right] lists; every token must be in the vocabulary.

        `prefix` marks tokens inside a word; a merge takes it off the right token. Of a merge
        that comes twice the last one counts, or the `first`.
        """
        if not isinstance(merges, (list, tuple)):
            raise TokenizerError(f"{where}: expected a list, found {type(merges).__name__}")
        kinds = set(map(type, merges))
        if kinds <= {str}:
            pairs: Sequence[Sequence[str]] = [merge.split(" ") for merge in merges]
        elif kinds <= {list, tuple}:
            pairs = merges
        else:
            raise TokenizerError(f"{where}: merges must be all texts or all pairs")
        if not _all_known(pairs, vocabulary.ids, len(prefix)):
            _name_problem(pairs, vocabulary.ids, len(prefix), where)
        separator = " " if kinds <= {str} else _separator(vocabulary)
        keys = merges if kinds <= {str} else list(map(separator.join, pairs))
        ranks = dict(zip(keys, range(len(keys)), strict=True))
        if first and len(ranks) < len(keys):
            ranks = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        return cls(ranks, separator)


def _all_known(pairs: Sequence[Sequence[str]], ids: dict[str, int], cut: int) -> bool:
    """Whether every merge is of two tokens and makes a token; in few steps, as there are many."""
    if set(map(len, pairs)) - {2}:
        return False
    try:
        lefts = list(map(itemgetter(0), pairs))
        rights = list(map(itemgetter(1), pairs))
        ends = [right[cut:] for right in rights] if cut else rights
        if not ids.keys() >= {*lefts, *rights}:
            return False
        return all(map(ids.__contains__, map(add, lefts, ends)))
    except TypeError:
        return False


def _name_problem(
    pairs: Sequence[Sequence[str]], ids: dict[str, int], cut: int, where: str
) -> None:
    for index, pair in enumerate(pairs):
        if len(pair) != 2 or not all(isinstance(token, str) for token in pair):
            raise TokenizerError(f"{where}: merge {index} is {pair!r}, not two tokens")
        left, right = pair
        for token in (left, right, left + right[cut:]):
            if token not in ids:
                raise TokenizerError(
                    f"{where}: merge {index} needs the token {token!r}, "
                    "which is not in the vocabulary"
                )


def _separator(vocabulary: ListedVocabulary) -> str:
    text = "".join(vocabulary.ids)
    for candidate in (" ", "\0", "\ufdd0", "\ufdd1", "\U0010fffe", "\U0010ffff"):
        if candidate not in text:
            return candidate
    used = set(text)
    return next(chr(point) for point in range(0xE000, 0x110000) if chr(point) not in used)


@dataclass(frozen=True)
class BPEOptions:
    """The switches of tokenizer.json's BPE model.

    `keep_unknown`: characters that are no token keep their neighbours apart while those merge,
    and are only then left out or turned into bytes. Without it that happens before.
    """

    unk_token: str | None = None
    continuing_subword_prefix: str = ""
    end_of_word_suffix: str = ""
    fuse_unk: bool = False
    byte_fallback: bool = False
    ignore_merges: bool = False
    keep_unknown: bool = False


class BPE:
    """Merges neighbours in the order of the list of merges."""

    def __init__(
        self, vocabulary: Vocabulary, merges: Merges, options: BPEOptions | None = None
    ) -> None:
        self._find = vocabulary.find
        self._rank = merges.rank
        self._options = options or BPEOptions()
        self._prefix = self._options.continuing_subword_prefix
        self._byte_ids = byte_tokens(vocabulary) if self._options.byte_fallback else None
        self._byte_names = [f"<0x{value:02X}>" for value in range(256)]
        if self._options.unk_token is not None and self._find(self._options.unk_token) is None:
            raise TokenizerError(
                f"the unknown token {self._options.unk_token!r} is not in the vocabulary"
            )
        whole_words = self._prefix or self._options.end_of_word_suffix
        # Words may be cut apart only if nothing depends on where a word begins and ends.
        self._boundaries = (
            None if whole_words or self._options.ignore_merges else safe_boundaries(vocabulary)
        )
        self._cache = WordCache(self._encode_word)

    def encode(self, pieces: Iterable[str]) -> list[int]:
        if self._boundaries is None:
            return self._cache.encode(pieces)
        split = self._boundaries.split
        return self._cache.encode(word for piece in pieces for word in split(piece))

    def _encode_word(self, word: str) -> list[int]:
        if self._options.ignore_merges:
            token_id = self._find(word)
            if token_id is not None:
                return [token_id]
        if self._options.keep_unknown:
            symbols = merge(list(word), self._rank, self._join)
            return [token_id for symbol in symbols for token_id in self._ids_of(symbol)]
        symbols = merge(self._symbols(word), self._rank, self._join)
        found = map(self._find, symbols)
        return [token_id for token_id in found if token_id is not None]

    def _ids_of(self, symbol: str) -> list[int]:
        """The token, or the tokens of its bytes as far as there are any."""
        token_id = self._find(symbol)
        if token_id is not None:
            return [token_id]
        if self._byte_ids is None:
            return []
        found = (self._byte_ids[value] for value in symbol.encode())
        return [byte_id for byte_id in found if byte_id is not None]

    def _symbols(self, word: str) -> list[str]:
        """The tokens that the word starts as: its characters, where they are tokens."""
        options, find = self._options, self._find
        characters = list(word)
        if self._prefix:
            characters[1:] = [self._prefix + character for character in characters[1:]]
        if options.end_of_word_suffix and characters:
            characters[-1] += options.end_of_word_suffix
        if None not in map(find, characters):
            return characters
        symbols: list[str] = []
        unknown = 0
        for character in characters:
            if find(character) is not None:
                symbols += [options.unk_token] * unknown if options.unk_token else []
                unknown = 0
                symbols.append(character)
                continue
            if self._byte_ids is not None:
                values = character.encode()
                if all(self._byte_ids[value] is not None for value in values):
                    symbols += [self._byte_names[value] for value in values]
                    continue
            # Without an unknown token the character is left out.
            unknown = 1 if options.fuse_unk else unknown + 1
        if options.unk_token:
            symbols += [options.unk_token] * unknown
        return symbols

    def _join(self, left: str, right: str) -> str:
        return left + right[len(self._prefix) :] if self._prefix else left + right
