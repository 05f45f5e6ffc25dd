"""How the npm package reads a tokenizer.json: into tables where it can, always as `JSON.parse`."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

from tests.edge.hosts import ask_internals
from tests.parity.tokenizer.trained import trained

TOKENS = [
    "a",
    "b",
    "ab",
    "abab",
    " ",
    "\u00e9",
    "\u4e2d",
    "\U0001f600",
    '"',
    "\\",
    "\n",
    "",
    "<0x41>",
]
VOCAB = {token: number for number, token in enumerate(TOKENS)}
MODEL = {"type": "BPE", "vocab": VOCAB, "merges": [["a", "b"], ["ab", "ab"], ["a", " "]]}
PIECES = [
    b'"',
    b"\\",
    b"\\u00e9",
    b"\\ud83d",
    b",",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b" ",
    b"0",
    b"\xe4",
]
FILE = {
    "version": "1.0",
    "added_tokens": [{"id": 0, "content": "a"}],
    "model": MODEL,
    "decoder": None,
}


def ways(package: Path, files: list[bytes], folder: Path) -> list[str]:
    """For each file "tables", "parsed" (or refused, as by `JSON.parse`), or "different"."""
    encoded = [base64.b64encode(file).decode() for file in files]
    (answer,) = ask_internals(package, [{"task": "tokenizerFiles", "files": encoded}], folder)
    return list(answer)


def with_model(**fields: Any) -> bytes:
    return json.dumps(FILE | {"model": MODEL | fields}, ensure_ascii=False).encode()


def test_usual_files_are_read_into_tables(package: Path, hosts: Path, tmp_path: Path) -> None:
    files = [
        json.dumps(FILE).encode(),
        json.dumps(FILE, ensure_ascii=False, indent=2).encode(),
        json.dumps(FILE, separators=(",", ":")).encode(),
        json.dumps(FILE, sort_keys=True).encode(),  # the merges come before the vocabulary
        json.dumps(FILE | {"model": MODEL | {"vocab": VOCAB | {"lone \ud800": 14}}}).encode(),
        json.dumps({"model": {"type": "WordPiece", "vocab": VOCAB}}).encode(),
        with_model(merges=["a b", "ab ab"]),
        with_model(merges=[["a", "b"], ["ab", "ab"], ["a", "b"]]),  # the last one counts
        with_model(vocab=dict(reversed(VOCAB.items()))),
        with_model(vocab={}, merges=[]),
        *(trained(name).to_str(pretty=True).encode() for name in ("gpt2", "llama2", "bert")),
    ]
    assert ways(package, files, tmp_path) == ["tables"] * len(files)


def test_unusual_files_are_parsed(package: Path, hosts: Path, tmp_path: Path) -> None:
    """What the tables cannot hold, or read otherwise than `JSON.parse`, and what is no JSON."""
    usual = with_model()
    files = [
        with_model(vocab=VOCAB | {"far": 1000}),
        with_model(vocab=VOCAB | {"again": 3}),
        with_model(vocab=VOCAB | {"half": 0.5}),
        with_model(vocab=VOCAB | {"below": -1}),
        with_model(vocab=VOCAB | {"x" * 5000: 13}),
        with_model(vocab=[["a", -1.0]]),
        with_model(vocab=with_equal_hashes(200), merges=[]),
        with_model(merges=[["a", "none"]]),
        with_model(merges=[["a", "b", "ab"]]),
        with_model(merges=["a b ab"]),
        with_model(merges=["ab"]),
        usual.replace(b'"abab": 3', b'"a": 3'),
        usual.replace(b'"abab": 3', b'"abab": 3e0'),
        usual.replace(b'"abab": 3', b'"abab": 03'),
        usual.replace(b'"abab": 3', b'"ab\nab": 3'),
        usual.replace(b'"abab": 3', b'"ab\xffab": 3'),
        usual.replace(b'"vocab": {', b'"voc\\u0061b": {'),
        usual.replace(b'"vocab": {', b'"vocab": {"b": 0}, "vocab": {'),
        usual.replace(b'"merges": [', b'"merges": [,'),
        usual.replace(b"]]}", b"]] more}"),
        b"\xef\xbb\xbf" + usual,
        usual[:-1],
        usual + b"}",
        b"[]",
        b"",
    ]
    assert ways(package, files, tmp_path) == ["parsed"] * len(files)


def test_damaged_files_are_never_read_otherwise(package: Path, hosts: Path, tmp_path: Path) -> None:
    draw = random.Random(6)
    sources = [with_model(), with_model(merges=["a b", "ab ab"]), json.dumps(FILE).encode()]
    files = [damaged(draw.choice(sources), draw) for _ in range(5000)]
    answers = ways(package, files, tmp_path)
    assert set(answers) == {"tables", "parsed"}


def damaged(file: bytes, draw: random.Random) -> bytes:
    """The file with one to three pieces left out, repeated, or put in."""
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(file))
        end = min(start + draw.choice((0, 0, 1, 1, 2, 5, 40)), len(file))
        piece = draw.choice((b"", file[start:end] * 2, draw.choice(PIECES)))
        file = file[:start] + piece + file[end:]
    return file


def with_equal_hashes(count: int) -> dict[str, int]:
    """Tokens that a table for as many would have to keep in one place."""
    slots = 2 ** (3 * count // 2).bit_length()
    found: dict[str, int] = {}
    number = 0
    while len(found) < count:
        token = f"t{number}"
        value = 0x811C9DC5
        for unit in token.encode("ascii"):
            value = (value ^ unit) * 0x01000193 % 2**32
        value ^= value >> 15
        value = value * 0x2C1B3C6D % 2**32
        if (value ^ value >> 13) % slots == 0:
            found[token] = len(found)
        number += 1
    return found
