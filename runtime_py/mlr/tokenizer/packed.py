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

bounds   where in the file each token begins, and where the last one ends: 32 bits × (n + 1)
order    the ids of the tokens that have a text, by the buckets of a hash table: 32 bits × up to n.
         A token is in the bucket whose number is the CRC-32 of its bytes, modulo how many there are
buckets  where in `order` each bucket begins, and where the last one ends: 32 bits × (a power of
         two + 1)
scores   `tokenizer.ggml.scores`, where the kind of tokenizer asks for them: 32-bit floating-point
         numbers × n. Of SentencePiece's BPE only their order matters; here they are the numbers
         0, -1, -2, … in the same order
merges   pairs of ids that merge, where the kind asks for them, in increasing order:
         (left << 32 | right) × m
ranks    the place of each of these merges in `tokenizer.ggml.merges`: 32 bits × m
types    `tokenizer.ggml.token_type`, as `GgufFields` corrects it: 8 bits × n
texts    the tokens in UTF-8, one after the other
"""

from __future__ import annotations

import codecs
import json
import re
from array import array
from binascii import crc32
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import islice
from operator import le, lt, sub
from typing import Any, Generic, TypeVar

from mlr.errors import TokenizerError
from mlr.tokenizer.vocabulary import MAX_TOKENS

__all__ = ["MAGIC", "SECTIONS", "START", "PackedMerges", "PackedVocabulary", "read_packed"]

MAGIC = b"MLRTOK\x00\x02"

START = len(MAGIC) + 4
"""Where the first section begins."""

SECTIONS = {
    "bounds": "I",
    "order": "I",
    "buckets": "I",
    "scores": "f",
    "merges": "Q",
    "ranks": "I",
    "types": "B",
    "texts": "B",
}
"""The sections in their order, and what each consists of, as `array` and `memoryview` call it."""

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


class PackedVocabulary:
    """A vocabulary in a file's bytes, with an index from texts to ids.

    An index that leaves tokens out makes them unreachable, as leaving out the tokens would: it is
    not checked for that. It cannot give an id that has another text.
    """

    __slots__ = ("_before_space", "_bounds", "_buckets", "_data", "_mask", "_order", "find")

    def __init__(self, data: bytes, tables: dict[str, Any], start: int, before_space: str) -> None:
        """`tables` are the sections of the file's bytes, and `start` is where the texts begin.

        TokenizerError when they do not fit.
        """
        self._data = data
        self._bounds, self._order = tables["bounds"], tables["order"]
        self._buckets = tables["buckets"]
        self._mask = len(self._buckets) - 2
        self._before_space = before_space
        self._check(start, start + len(tables["texts"]))
        self.find: Callable[[str], int | None] = _Remembered(self._look_up).__getitem__

    def _check(self, start: int, end: int) -> None:
        count = len(self._bounds) - 1
        if not 0 < count <= MAX_TOKENS:
            raise TokenizerError(f"tokenizer: {count} tokens; there must be 1 to {MAX_TOKENS}")
        bounds = self._bounds
        if (bounds[0], bounds[-1]) != (start, end) or not _grows(bounds, le):
            raise TokenizerError("tokenizer: the bounds of the tokens are not those of the texts")
        _check_utf8(self._data, bounds)
        number = self._mask + 1
        if number & self._mask or not 0 < number <= 2 * count:
            raise TokenizerError(f"tokenizer: {number} buckets for {count} tokens")
        try:
            bytes(map(sub, islice(self._buckets, 1, None), self._buckets))
        except ValueError:
            raise TokenizerError("tokenizer: a bucket has less than 0 or more than 255") from None
        if (self._buckets[0], self._buckets[-1]) != (0, len(self._order)):
            raise TokenizerError("tokenizer: the buckets are not those of the tokens")
        if max(self._order, default=0) >= count:
            raise TokenizerError("tokenizer: there is no token of an id in a bucket")

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def text(self, token_id: int) -> str:
        return self._data[self._bounds[token_id] : self._bounds[token_id + 1]].decode()

    def texts(self) -> Iterator[str]:
        return map(self.text, range(len(self)))

    def before_space(self) -> set[str]:
        return set(self._before_space)

    def _look_up(self, text: str) -> int | None:
        wanted = text.encode("utf-8", "surrogatepass")
        bucket = crc32(wanted) & self._mask
        data, bounds = self._data, self._bounds
        token_id: int
        for token_id in self._order[self._buckets[bucket] : self._buckets[bucket + 1]]:
            if data[bounds[token_id] : bounds[token_id + 1]] == wanted:
                return token_id
        return None


class PackedMerges:
    """Merges as a sorted table of pairs of ids."""

    def __init__(self, find: Callable[[str], int | None], pairs: Any, ranks: Any) -> None:
        """TokenizerError when `pairs` do not increase, or `ranks` are not as many."""
        if len(pairs) != len(ranks) or not _grows(pairs, lt):
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

    `tokens` is a `PackedVocabulary`, `merges` a `PackedMerges`; `scores` and `token_type` are
    memory views. TokenizerError for a file that is not whole, or does not fit together.
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
    for name in ("types", "scores"):
        if name in tables and len(tables[name]) != len(vocabulary):
            raise TokenizerError(f"tokenizer: {name} and tokens are not equally many")
    metadata[_PREFIX + "tokens"] = vocabulary
    metadata[_PREFIX + "token_type"] = tables["types"]
    if "scores" in tables:
        metadata[_PREFIX + "scores"] = tables["scores"]
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
    needed = {"texts", "bounds", "types", "order", "buckets"}
    if (
        not isinstance(sizes, dict)
        or not needed <= sizes.keys() <= SECTIONS.keys()
        or ("merges" in sizes) != ("ranks" in sizes)
        or any(type(size) is not int or size < 0 for size in sizes.values())
    ):
        raise TokenizerError("tokenizer: the header does not list the sections that there must be")
    if START + sum(sizes.values()) != end:
        raise TokenizerError("tokenizer: the sections are not as long as the file")
    return metadata, before_space, {name: sizes[name] for name in SECTIONS if name in sizes}


def _grows(numbers: memoryview, compare: Callable[[int, int], bool]) -> bool:
    return all(map(compare, numbers, islice(numbers, 1, None)))


def _check_utf8(data: bytes, bounds: memoryview) -> None:
    """TokenizerError unless every text is UTF-8; in parts, so that it takes no memory."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    end = bounds[-1]
    try:
        for start in range(bounds[0], end, _DECODED_AT_ONCE):
            decode(data[start : min(start + _DECODED_AT_ONCE, end)])
        decode(b"", True)
    except UnicodeDecodeError as error:
        raise TokenizerError(f"tokenizer: the tokens are not UTF-8: {error.reason}") from None
    firsts = bytes(map(data.__getitem__, islice(bounds, len(bounds) - 1)))
    if re.search(rb"[\x80-\xbf]", firsts):
        raise TokenizerError("tokenizer: a token begins within a character")
