"""GGUF's tokenizer as tables that runtimes use without parsing: see `mlr.tokenizer.packed`."""

from __future__ import annotations

import json
import struct
from binascii import crc32
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from mlr.errors import TokenizerError
from mlr.tokenizer.gguf_fields import PREFIX, GgufFields
from mlr.tokenizer.models.bpe import ListedMerges
from mlr.tokenizer.packed import MAGIC, SECTIONS
from mlr.tokenizer.vocabulary import ListedVocabulary

__all__ = ["pack_tokenizer"]

_LISTS = ("tokens", "scores", "token_type", "merges")
_MERGING = ("gpt2", "gemma4")  # the kinds that have a list of merges
_FULLEST = 0xFF  # tokens in a bucket
_LONGEST = 0xFFFF  # bytes of a token


def pack_tokenizer(metadata: Mapping[str, Any]) -> bytes:
    """The bytes of a packed tokenizer, the same for the same metadata.

    Raises `TokenizerError` for metadata that does not describe one.
    """
    vocabulary = ListedVocabulary.from_list(metadata.get(PREFIX + "tokens"), PREFIX + "tokens")
    fields = GgufFields(metadata, {})
    texts = [token.encode() for token in vocabulary.texts()]
    sections = _index_sections(texts)
    kind = fields.get("model")
    if kind == "llama":
        sections |= _ordered_sections(list(fields.scores()))
    elif kind == "t5":
        sections |= {"scores": _packed("f", fields.scores()), "falling": _packed("I", (0, 0))}
    elif kind in _MERGING:
        sections |= _merge_sections(fields.get("merges"), vocabulary)
    sections["types"] = bytes(fields.types)
    sections["lengths"] = _lengths(texts)
    sections["texts"] = b"".join(texts)
    left = {
        key: value
        for key, value in metadata.items()
        if key.startswith(PREFIX) and key.removeprefix(PREFIX) not in _LISTS
    }
    ordered = {name: sections[name] for name in SECTIONS if name in sections}
    header = {
        "metadata": left,
        "before_space": "".join(sorted(vocabulary.before_space())),
        "sections": {name: len(section) for name, section in ordered.items()},
    }
    try:
        text = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise TokenizerError(f"{PREFIX}*: a number is not finite: {error}") from None
    data = text.encode()
    return b"".join([MAGIC, struct.pack("<I", len(data)), *ordered.values(), data])


def _index_sections(texts: Sequence[bytes]) -> dict[str, bytes]:
    buckets = 1 << max((len(texts) - 1).bit_length() - 1, 0)  # of 1 to 2 tokens each
    order: list[list[int]] = [[] for _ in range(buckets)]
    for token_id, text in enumerate(texts):
        if text:
            order[crc32(text) % buckets].append(token_id)
    if max(map(len, order)) > _FULLEST:
        raise TokenizerError(f"{PREFIX}tokens: more than {_FULLEST} tokens have one hash")
    return {
        "buckets": bytes(map(len, order)),
        "order": _packed("I", [token_id for bucket in order for token_id in bucket]),
    }


def _lengths(texts: Sequence[bytes]) -> bytes:
    longest = max(map(len, texts))
    if longest > _LONGEST:
        raise TokenizerError(f"{PREFIX}tokens: a token is longer than {_LONGEST} bytes")
    return _packed("H" if longest > 0xFF else "B", map(len, texts))


def _merge_sections(merges: object, vocabulary: ListedVocabulary) -> dict[str, bytes]:
    where = PREFIX + "merges"
    listed = ListedMerges.read(merges, vocabulary, "", where, first=True)
    ids = vocabulary.ids
    ranked: dict[int, int] = {}
    for pair, rank in listed.ranks.items():
        left, right = pair.split(listed.separator)
        ranked[ids[left] << 32 | ids[right]] = rank
    pairs = sorted(ranked)
    return {"merges": _packed("Q", pairs), "ranks": _packed("I", [ranked[pair] for pair in pairs])}


def _ordered_sections(scores: Sequence[float]) -> dict[str, bytes]:
    """Whole numbers in the order of the scores: -id in the longest range where that can be."""
    places = {score: -place for place, score in enumerate(sorted(set(scores), reverse=True))}
    ordered = [places[score] for score in scores]
    # of ids whose numbers fall by one, their sums with the ids are equal
    runs = groupby(range(len(ordered)), lambda token_id: ordered[token_id] + token_id)
    total, falling = max(((total, list(ids)) for total, ids in runs), key=lambda run: len(run[1]))
    first, end = falling[0], falling[-1] + 1
    return {
        "scores": _packed("f", [place - total for place in (*ordered[:first], *ordered[end:])]),
        "falling": _packed("I", (first, end)),
    }


def _packed(code: str, values: Iterable[float]) -> bytes:
    numbers = list(values)
    try:
        return struct.pack(f"<{len(numbers)}{code}", *numbers)
    except OverflowError as error:
        raise TokenizerError(f"{PREFIX}scores: {error}") from None
