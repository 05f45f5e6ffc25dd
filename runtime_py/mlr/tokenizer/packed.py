"""Tokenizers as `mlr-build` writes them: tables that are used where they lie.

A vocabulary has hundreds of thousands of tokens. As texts, numbers and a dict of Python they take
fifty megabytes and most of the time of loading a model; here they are read as they are. JavaScript
reads the same tables (`web/src/runner/packed.ts`), as views of the file's bytes: so what
is wider than a byte comes first, where it is aligned.

A file is `MAGIC`, the size of the header (32 bits), the sections one after the other, and the
header, all little-endian. The header is a JSON object:

metadata      the metadata of the GGUF file but for its long lists, as `mlr.tokenizer.gguf` reads it
before_space  the characters that stand right before a `▁` within a token
sections      the size in bytes of each section that there is

Sections, of n tokens and m merges:

order    the ids of the tokens that have a text, by the buckets of a hash table: 32 bits × up to n.
         A token is in the bucket whose number is the CRC-32 of its bytes, modulo how many there are
scores   `tokenizer.ggml.scores`, where the kind of tokenizer asks for them, without those of a
         range of ids that is in `falling`: 32-bit floating-point numbers × up to n
falling  that range, where there are scores: its first id, and the one after its last: 32 bits × 2.
         There the score of an id is -id
merges   pairs of ids that merge, where the kind asks for them, in increasing order:
         (left << 32 | right) × m
ranks    the place of each of these merges in `tokenizer.ggml.merges`: 32 bits × m
lengths  the bytes of each token: 8 bits × n; 16 bits × n where one has more than 255
buckets  how many ids of `order` each bucket has: 8 bits × a power of two
types    `tokenizer.ggml.token_type`, as `GgufFields` corrects it: 8 bits × n
texts    the tokens in UTF-8, one after the other

Of the scores of SentencePiece's BPE only their order matters. They are replaced by whole numbers in
the same order, equal ones by equal ones: the k-th highest by c - k. So in a range of ids where the
score of each token is the next lower one of all that there are, it falls by one from id to id; c is
such that in the longest of these ranges it is -id. Where a vocabulary was trained that is most of
it; special tokens, bytes and what users defined, all of which merging can give, are listed.
"""

from __future__ import annotations

import codecs
import json
import re
from array import array
from binascii import crc32
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate, chain, islice, pairwise
from math import isfinite
from operator import lt
from typing import Any, Generic, TypeVar

from mlr.errors import TokenizerError
from mlr.tokenizer.vocabulary import MAX_TOKENS

__all__ = [
    "MAGIC",
    "SECTIONS",
    "START",
    "PackedMerges",
    "PackedScores",
    "PackedVocabulary",
    "read_packed",
]

MAGIC = b"MLRTOK\x00\x03"

START = len(MAGIC) + 4
"""Where the first section begins."""

SECTIONS = {
    "order": "I",
    "scores": "f",
    "falling": "I",
    "merges": "Q",
    "ranks": "I",
    "lengths": "B",
    "buckets": "B",
    "types": "B",
    "texts": "B",
}
"""The sections in their order, and what each consists of, as `array` and `memoryview` call it.

Lengths of 16 bits are cast once more.
"""

_PREFIX = "tokenizer.ggml."
_MAX_REMEMBERED = 16_384
_DECODED_AT_ONCE = 1 << 16

K = TypeVar("K")
V = TypeVar("V")


class _Remembered(dict[K, V], Generic[K, V]):
    """What a function gave lately. Emptied when it is full, so its size is bounded.

    Its `__getitem__` runs no Python code for what it knows.
    """

    def __init__(self, compute: Callable[[K], V]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, key: K) -> V:
        value = self._compute(key)
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        self[key] = value
        return value


def _starts(sizes: memoryview, first: int) -> array[int]:
    """Where every eighth thing begins of things that lie one after the other."""
    return array("I", islice(accumulate(sizes, initial=first), 0, None, 8))


class PackedVocabulary:
    """A vocabulary in a file's bytes, with an index from texts to ids.

    An index that leaves tokens out makes them unreachable, as leaving out the tokens would: it is
    not checked for that. It cannot give an id that has another text.
    """

    __slots__ = (
        "_before_space",
        "_bucket_starts",
        "_buckets",
        "_data",
        "_lengths",
        "_mask",
        "_order",
        "_starts",
        "find",
    )

    def __init__(self, data: bytes, tables: dict[str, Any], start: int, before_space: str) -> None:
        """`tables` are the sections of the file's bytes, and `start` is where the texts begin.

        TokenizerError when they do not fit.
        """
        self._data = data
        lengths, count = tables["lengths"], len(tables["types"])
        self._lengths = lengths.cast("H") if len(lengths) == 2 * count else lengths
        self._order, self._buckets = tables["order"], tables["buckets"]
        self._mask = len(self._buckets) - 1
        self._before_space = before_space
        self._check(start, start + len(tables["texts"]), count)
        self._starts = _starts(self._lengths, start)
        self._bucket_starts = _starts(self._buckets, 0)
        self.find: Callable[[str], int | None] = _Remembered(self._look_up).__getitem__

    def _check(self, start: int, end: int, count: int) -> None:
        if not 0 < count <= MAX_TOKENS:
            raise TokenizerError(f"tokenizer: {count} tokens; there must be 1 to {MAX_TOKENS}")
        if len(self._lengths) != count:
            raise TokenizerError("tokenizer: types and lengths are not equally many")
        if start + sum(self._lengths) != end:
            raise TokenizerError("tokenizer: the lengths of the tokens are not those of the texts")
        _check_utf8(self._data, start, end, self._lengths)
        number = len(self._buckets)
        if number & self._mask or not 0 < number <= 2 * count:
            raise TokenizerError(f"tokenizer: {number} buckets for {count} tokens")
        if sum(self._buckets) != len(self._order):
            raise TokenizerError("tokenizer: the buckets are not those of the tokens")
        if max(self._order, default=0) >= count:
            raise TokenizerError("tokenizer: there is no token of an id in a bucket")

    def __len__(self) -> int:
        return len(self._lengths)

    def text(self, token_id: int) -> str:
        return self.utf8(token_id).decode()

    def utf8(self, token_id: int) -> bytes:
        start = self._starts[token_id >> 3] + sum(self._lengths[token_id & -8 : token_id])
        return self._data[start : start + self._lengths[token_id]]

    def texts(self) -> Iterator[str]:
        bounds = pairwise(accumulate(self._lengths, initial=self._starts[0]))
        return (self._data[start:end].decode() for start, end in bounds)

    def before_space(self) -> set[str]:
        return set(self._before_space)

    def _look_up(self, text: str) -> int | None:
        wanted = text.encode("utf-8", "surrogatepass")
        size = len(wanted)
        bucket = crc32(wanted) & self._mask
        first = self._bucket_starts[bucket >> 3] + sum(self._buckets[bucket & -8 : bucket])
        token_id: int
        for token_id in self._order[first : first + self._buckets[bucket]]:
            if self._lengths[token_id] == size:
                start = self._starts[token_id >> 3] + sum(self._lengths[token_id & -8 : token_id])
                if self._data[start : start + size] == wanted:
                    return token_id
        return None


class PackedScores:
    """The scores of `count` tokens. Of an id in `falling` it is -id, and not listed."""

    __slots__ = ("_listed", "falling")

    def __init__(self, listed: memoryview, falling: memoryview, count: int) -> None:
        """TokenizerError when they are not as many, or not finite."""
        if len(falling) != 2 or not falling[0] <= falling[1] <= count:
            raise TokenizerError("tokenizer: the falling scores are not those of a range of ids")
        self.falling = range(*falling)
        if len(listed) != count - len(self.falling):
            raise TokenizerError("tokenizer: scores and tokens are not equally many")
        if not isfinite(sum(listed)):  # of numbers of 32 bits the sum is finite if all are
            raise TokenizerError("tokenizer: every score must be a finite number")
        self._listed = listed

    def __getitem__(self, token_id: int) -> float:
        if token_id in self.falling:
            return -token_id
        left_out = len(self.falling) if token_id >= self.falling.stop else 0
        score: float = self._listed[token_id - left_out]
        return score

    def __iter__(self) -> Iterator[float]:
        first, end = self.falling.start, self.falling.stop
        return chain(self._listed[:first], range(-first, -end, -1), self._listed[first:])


class PackedMerges:
    """Merges as a sorted table of pairs of ids."""

    def __init__(self, find: Callable[[str], int | None], pairs: Any, ranks: Any) -> None:
        """TokenizerError when `pairs` do not increase, or `ranks` are not as many."""
        if len(pairs) != len(ranks) or not all(map(lt, pairs, islice(pairs, 1, None))):
            raise TokenizerError("tokenizer: the merges are not in order")
        self._find = find
        self._pairs = pairs
        self._ranks = ranks
        self._known = _Remembered(self._look_up)

    def rank(self, left: str, right: str) -> int | None:
        return self._known[left, right]

    def _look_up(self, pair: tuple[str, str]) -> int | None:
        left, right = map(self._find, pair)
        if left is None or right is None:
            return None
        key = left << 32 | right
        place = bisect_left(self._pairs, key)
        if place == len(self._pairs) or self._pairs[place] != key:
            return None
        rank: int = self._ranks[place]
        return rank


def read_packed(data: bytes) -> dict[str, Any]:
    """The metadata in a file's bytes, where the tables stand for the long lists.

    `tokens` is a `PackedVocabulary`, `merges` a `PackedMerges`, `scores` a `PackedScores`, and
    `token_type` a memory view. TokenizerError for a file that is not whole, or does not fit
    together.
    """
    metadata, before_space, sizes = _read_header(data)
    tables: dict[str, Any] = {}
    view = memoryview(data)
    start = START
    for name, size in sizes.items():
        code = SECTIONS[name]
        if size % array(code).itemsize:
            raise TokenizerError(f"tokenizer: {size} bytes of {name} are no whole number of them")
        tables[name] = view[start : start + size].cast(code)  # type: ignore[call-overload]
        start += size
    texts = start - sizes["texts"]
    vocabulary = PackedVocabulary(data, tables, texts, before_space)
    metadata[_PREFIX + "tokens"] = vocabulary
    metadata[_PREFIX + "token_type"] = tables["types"]
    if "scores" in tables:
        scores = PackedScores(tables["scores"], tables["falling"], len(vocabulary))
        metadata[_PREFIX + "scores"] = scores
    if "merges" in tables:
        merges = PackedMerges(vocabulary.find, tables["merges"], tables["ranks"])
        metadata[_PREFIX + "merges"] = merges
    return metadata


def _read_header(data: bytes) -> tuple[dict[str, Any], str, dict[str, int]]:
    """Metadata, the characters before a space, and the sections' sizes in their order."""
    if len(data) < START or not data.startswith(MAGIC):
        raise TokenizerError(
            "tokenizer: the file does not begin as a packed tokenizer does, or was written by "
            "another version of mlr-build: make the bundle anew"
        )
    end = len(data) - int.from_bytes(data[len(MAGIC) : START], "little")
    if end < START:
        raise TokenizerError("tokenizer: the file ends within its header")
    try:
        header = json.loads(data[end:])
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"tokenizer: the header is not JSON: {error}") from None
    found = [
        header.get(name) if isinstance(header, dict) else None
        for name in ("metadata", "before_space", "sections")
    ]
    metadata, before_space, sizes = found
    if not (isinstance(metadata, dict) and isinstance(before_space, str)):
        raise TokenizerError("tokenizer: the header lacks the metadata")
    needed = {"order", "lengths", "buckets", "types", "texts"}
    if (
        not isinstance(sizes, dict)
        or not needed <= sizes.keys() <= SECTIONS.keys()
        or ("scores" in sizes) != ("falling" in sizes)
        or ("merges" in sizes) != ("ranks" in sizes)
        or any(type(size) is not int or size < 0 for size in sizes.values())
    ):
        raise TokenizerError("tokenizer: the header does not list the sections that there must be")
    if START + sum(sizes.values()) != end:
        raise TokenizerError("tokenizer: the sections are not as long as the file")
    return metadata, before_space, {name: sizes[name] for name in SECTIONS if name in sizes}


def _check_utf8(data: bytes, start: int, end: int, lengths: memoryview) -> None:
    """TokenizerError unless every text is UTF-8; in parts, so that it takes no memory."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    try:
        for place in range(start, end, _DECODED_AT_ONCE):
            decode(data[place : min(place + _DECODED_AT_ONCE, end)])
        decode(b"", True)
    except UnicodeDecodeError as error:
        raise TokenizerError(f"tokenizer: the tokens are not UTF-8: {error.reason}") from None
    starts = islice(accumulate(lengths, initial=start), len(lengths))
    if re.search(rb"[\x80-\xbf]", bytes(map(data.__getitem__, starts))):
        raise TokenizerError("tokenizer: a token begins within a character")
