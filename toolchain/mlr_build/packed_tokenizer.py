"""GGUF's tokenizer as tables that the runtime uses without parsing: see `mlr.tokenizer.packed`."""

from __future__ import annotations

import json
import struct
from binascii import crc32
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from mlr.errors import TokenizerError
from mlr.tokenizer.gguf_fields import PREFIX, TokenType
from mlr.tokenizer.models.bpe import ListedMerges
from mlr.tokenizer.packed import MAGIC, SECTIONS, START
from mlr.tokenizer.vocabulary import ListedVocabulary

__all__ = ["pack_tokenizer"]

_LISTS = ("tokens", "scores", "token_type", "merges")
_FULLEST = 0xFF  # tokens in a bucket; the reader takes no more


def pack_tokenizer(metadata: Mapping[str, Any]) -> bytes:
    """The bytes of a packed tokenizer, the same for the same metadata.

    Raises `TokenizerError` for metadata that does not describe one.
    """
    vocabulary = ListedVocabulary.from_list(metadata.get(PREFIX + "tokens"), PREFIX + "tokens")
    sections = _vocabulary_sections(vocabulary)
    sections["types"] = _numbers(metadata, "token_type", len(vocabulary), "B") or bytes(
        [TokenType.NORMAL] * len(vocabulary)
    )
    scores = _numbers(metadata, "scores", len(vocabulary), "f")
    if scores is not None:
        sections["scores"] = scores
    if PREFIX + "merges" in metadata:
        sections |= _merge_sections(metadata[PREFIX + "merges"], vocabulary)
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


def _vocabulary_sections(vocabulary: ListedVocabulary) -> dict[str, bytes]:
    texts = [token.encode() for token in vocabulary.texts()]
    buckets = 1 << max((len(texts) - 1).bit_length() - 1, 0)  # of 1 to 2 tokens each
    order: list[list[int]] = [[] for _ in range(buckets)]
    for token_id, text in enumerate(texts):
        if text:
            order[crc32(text) % buckets].append(token_id)
    if max(map(len, order)) > _FULLEST:
        raise TokenizerError(f"{PREFIX}tokens: more than {_FULLEST} tokens have one hash")
    return {
        "texts": b"".join(texts),
        "bounds": _packed("I", accumulate(map(len, texts), initial=START)),
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


def _numbers(metadata: Mapping[str, Any], name: str, size: int, code: str) -> bytes | None:
    values = metadata.get(PREFIX + name)
    if values is None:
        return None
    if not isinstance(values, Sequence) or len(values) != size:
        raise TokenizerError(f"{PREFIX}{name}: there must be one number for each of {size} tokens")
    try:
        return _packed(code, values)
    except (TypeError, OverflowError, struct.error) as error:
        raise TokenizerError(f"{PREFIX}{name}: {error}") from None


def _packed(code: str, values: Any) -> bytes:
    numbers = list(values)
    return struct.pack(f"<{len(numbers)}{code}", *numbers)
