"""Packed tokenizers to break: their parts, and parts that do not fit."""

from __future__ import annotations

import json
from typing import Any

from mlr.tokenizer.packed import MAGIC, SECTIONS, START
from mlr_build.packed_tokenizer import pack_tokenizer

__all__ = ["BROKEN", "changed", "gguf", "put_together", "sample", "taken_apart", "words"]


def gguf(tokens: list[str], **more: Any) -> dict[str, Any]:
    """The metadata of a GGUF file with these tokens."""
    fields = {"model": "t5", "tokens": tokens, **more}
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def taken_apart(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The header of a packed file, and its sections."""
    header = json.loads(data[len(data) - int.from_bytes(data[len(MAGIC) : START], "little") :])
    start, parts = START, {}
    for name, size in header["sections"].items():
        parts[name] = data[start : start + size]
        start += size
    return header, parts


def put_together(header: dict[str, Any], parts: dict[str, bytes]) -> bytes:
    """A packed file; the sections must be in their order."""
    sizes = {name: len(part) for name, part in parts.items()}
    text = json.dumps({"sections": sizes, **header}).encode()
    return b"".join([MAGIC, len(text).to_bytes(4, "little"), *parts.values(), text])


def changed(data: bytes, header: dict[str, Any], sections: dict[str, bytes]) -> bytes:
    """A packed file with other fields of its header, or other sections."""
    found, parts = taken_apart(data)
    del found["sections"]
    parts |= sections
    parts = {name: parts[name] for name in (*(parts.keys() - SECTIONS), *SECTIONS) if name in parts}
    return put_together(found | header, parts)


def words(*numbers: int) -> bytes:
    """Numbers of 32 bits."""
    return b"".join((number % 2**32).to_bytes(4, "little") for number in numbers)


def sample() -> bytes:
    """The packed file that `BROKEN` is about."""
    tokens = ["a", "b", "▁", "ab", "▁a", "▁ab", "é▁é"]
    return pack_tokenizer(gguf(tokens, token_type=[1] * 7, scores=[0.0] * 7))


BROKEN: list[tuple[dict[str, Any], dict[str, bytes], str]] = [
    ({"sections": []}, {}, "does not list the sections"),
    ({"sections": {"texts": 0}}, {}, "does not list the sections"),
    ({}, {"more": b"1"}, "does not list the sections"),
    ({}, {"merges": bytes(8)}, "does not list the sections"),
    ({}, {"ranks": bytes(8)}, "does not list the sections"),
    ({}, {"order": bytes(3)}, "no whole number"),
    ({}, {"types": b""}, "0 tokens"),
    ({}, {"types": bytes(6)}, "types and lengths"),
    ({}, {"lengths": bytes(13)}, "types and lengths"),
    ({}, {"lengths": bytes((1, 1, 3, 2, 4, 5, 8))}, "not those of the texts"),
    ({}, {"lengths": bytes((1, 1, 3, 2, 4, 5, 6))}, "not those of the texts"),
    ({}, {"lengths": bytes((1, 0, 1, 0, 3, 0, 2, 0, 4, 0, 5, 0, 7, 1))}, "not those of the texts"),
    ({}, {"texts": b"\xff" * 23}, "not UTF-8"),
    ({}, {"texts": b"a" * 22 + b"\xc3"}, "not UTF-8"),
    ({}, {"texts": "aé".encode() + bytes(20)}, "within a character"),
    ({}, {"buckets": b""}, "0 buckets"),
    ({}, {"buckets": bytes((1, 2, 4))}, "3 buckets"),
    ({}, {"buckets": bytes((1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0))}, "16 buckets"),
    ({}, {"buckets": bytes((1, 2, 2, 1))}, "not those of the tokens"),
    ({}, {"buckets": bytes((1, 2, 2, 3))}, "not those of the tokens"),
    ({}, {"order": words(0, 1, 2, 3, 4, 5, 7)}, "no token of an id"),
    ({}, {"scores": bytes(4)}, "scores and tokens"),
    ({}, {"types": b"\x07" * 7}, "no type 7"),
    ({}, {"scores": b"\xff" * 28}, "finite"),
    ({}, {"scores": bytes(24) + b"\x00\x00\x80\xff"}, "finite"),
    ({}, {"falling": b""}, "not those of a range of ids"),
    ({}, {"falling": words(0)}, "not those of a range of ids"),
    ({}, {"falling": words(0, 0, 0)}, "not those of a range of ids"),
    ({}, {"falling": words(4, 3)}, "not those of a range of ids"),
    ({}, {"falling": words(1, 8), "scores": b""}, "not those of a range of ids"),
    ({}, {"falling": words(1, 3)}, "scores and tokens"),
    ({}, {"merges": bytes(16), "ranks": bytes(8)}, "not in order"),
    ({}, {"merges": bytes(16), "ranks": bytes(4)}, "not in order"),
]
"""Fields of the header, sections, and what both readers say when `sample` has them."""
