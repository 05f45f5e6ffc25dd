"""GGUF's tokenizer as tables that runtimes use without parsing: see `mlr.tokenizer.packed`."""

from __future__ import annotations

import json
import struct
from binascii import crc32
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from mlr.errors import TokenizerError
from mlr.tokenizer.gguf_fields import PREFIX, GgufFields
from mlr.tokenizer.models.bpe import ListedMerges
from mlr.tokenizer.packed import MAGIC, SECTIONS, START
from mlr.tokenizer.vocabulary import ListedVocabulary

__all__ = ["pack_tokenizer"]

_LISTS = ("tokens", "scores", "token_type", "merges")
_MERGING = ("gpt2", "gemma4")  # the kinds that have a list of merges
_FULLEST = 0xFF  # tokens in a bucket; the reader takes no more


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
        sections["scores"] = _packed("f", _places(fields.scores()))
    elif kind == "t5":
        sections["scores"] = _packed("f", fields.scores())
    elif kind in _MERGING:
        sections |= _merge_sections(fields.get("merges"), vocabulary)
    sections["types"] = bytes(fields.types)
    first = START + sum(map(len, sections.values())) + 4 * (len(texts) + 1)
    sections["bounds"] = _packed("I", accumulate(map(len, texts), initial=first))
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
        "buckets": _packed("I", accumulate(map(len, order), initial=0)),
        "order": _packed("I", [token_id for bucket in order for token_id in bucket]),
    }


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


def _places(scores: Iterable[float]) -> list[int]:
    """0 for the highest score, -1 for the next one, and so on; equal ones stay equal."""
    listed = list(scores)
    places = {score: -place for place, score in enumerate(sorted(set(listed), reverse=True))}
    return [places[score] for score in listed]


def _packed(code: str, values: Iterable[float]) -> bytes:
    numbers = list(values)
    try:
        return struct.pack(f"<{len(numbers)}{code}", *numbers)
    except OverflowError as error:
        raise TokenizerError(f"{PREFIX}scores: {error}") from None
