"""Packed tokenizers in JavaScript: what Python reads in the same files, or its refusal."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mlr.errors import TokenizerError
from mlr.tokenizer.gguf_fields import PREFIX, GgufFields, TokenType
from mlr.tokenizer.packed import START, read_packed
from mlr_build.packed_tokenizer import pack_tokenizer
from tests.edge.hosts import ask_internals
from tests.support.packed import BROKEN, changed, gguf, sample, taken_apart
from tests.unit.tokenizer import samples

KINDS = {
    "spm": samples.spm(),
    "falling": gguf(
        ["<s>", *"abcdefgh", "ab", "cd"],
        model="llama",
        scores=[-1000.0, *map(float, range(0, -9, -1)), 0.0],
        token_type=[3, *[1] * 10],
    ),
    "bpe": samples.gguf_bpe(),
    "bert": samples.bert(),
    "t5": samples.t5(),
    "odd": samples.t5(
        tokens=["", "a", "\0", "\ufeff", "\U0010ffff", "é▁中😀", "x" * 3000],
        token_type=[0, 1, 2, 3, 4, 5, 1],
    ),
}
USER_DEFINED = TokenType.USER_DEFINED
ADDED = (TokenType.UNKNOWN, TokenType.CONTROL, USER_DEFINED)
TEXTLESS = (TokenType.UNDEFINED, TokenType.UNUSED)


def read(package: Path, files: Iterable[bytes], folder: Path) -> list[dict[str, Any]]:
    """What JavaScript finds in files, or what it says is wrong with them."""
    encoded = [base64.b64encode(file).decode() for file in files]
    (answers,) = ask_internals(package, [{"task": "packed", "files": encoded}], folder)
    return list(answers)


def expected(data: bytes) -> dict[str, Any]:
    """The same from Python. TokenizerError for what it refuses."""
    found = read_packed(data)
    vocabulary, types = found[PREFIX + "tokens"], found[PREFIX + "token_type"]
    if max(types) > max(TokenType):
        raise TokenizerError("no such type")
    scores = GgufFields(found, {}).scores() if PREFIX + "scores" in found else None
    texts = list(vocabulary.texts())
    shown = [t not in TEXTLESS and text != "" for t, text in zip(types, texts, strict=True)]
    ids = [vocabulary.find(text) if one else None for one, text in zip(shown, texts, strict=True)]
    merges = found.get(PREFIX + "merges")
    known = [token_id for token_id in ids if token_id is not None]  # one for equal texts
    tried = (
        [[i, j, merges.rank(texts[i], texts[j])] for i in known for j in known] if merges else []
    )
    return {
        "tokens": [text if one else None for one, text in zip(shown, texts, strict=True)],
        "found": ids,
        "added": [
            {
                "id": i,
                "content": texts[i],
                "special": types[i] != TokenType.USER_DEFINED,
                "normalized": False,
            }
            for i, text in enumerate(texts)
            if text and types[i] in ADDED
        ],
        "merges": [one for one in tried if one[2] is not None],
        "scores": None if scores is None else list(scores),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_alike(kind: str, package: Path, hosts: Path, tmp_path: Path) -> None:
    data = pack_tokenizer(KINDS[kind])
    assert read(package, [data], tmp_path) == [expected(data)]


def some_metadata(draw: random.Random) -> dict[str, Any]:
    """Up to 80 tokens, some of them long or without a text, with scores that fall or do not."""
    size = draw.choice((1, 2, 9, 16, 17, 80))
    longest = draw.choice((2, 9, 300))
    choices = ("".join(draw.choices("ab▁é😀\0", k=draw.randrange(longest))) for _ in range(size))
    tokens = list(dict.fromkeys(choices))
    tokens += [""] * draw.randrange(3) or ["a" * 255]
    numbers = range(len(tokens))
    scores = [draw.choice((-1.5, 0.0, -float(i))) if draw.random() < 0.1 else -i for i in numbers]
    kinds = [draw.choice((0, 1, 1, 2, 3, 4, 5)) for _ in numbers]
    return gguf(tokens, model=draw.choice(("llama", "t5")), scores=scores, token_type=kinds)


def test_random_vocabularies_are_read_alike(package: Path, hosts: Path, tmp_path: Path) -> None:
    draw = random.Random(11)
    files = [pack_tokenizer(some_metadata(draw)) for _ in range(300)]
    assert read(package, files, tmp_path) == list(map(expected, files))


def test_parts_that_do_not_fit(package: Path, hosts: Path, tmp_path: Path) -> None:
    files = [changed(sample(), header, sections) for header, sections, _ in BROKEN]
    for answer, (*_, message) in zip(read(package, files, tmp_path), BROKEN, strict=True):
        assert (answer["error"], answer["code"]) == ("TokenizerError", "tokenizer")
        assert message in answer["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_cut(kind: str, package: Path, hosts: Path, tmp_path: Path) -> None:
    data = pack_tokenizer(KINDS[kind])
    answers = read(package, (data[:size] for size in range(len(data))), tmp_path)
    assert {answer.get("error") for answer in answers} == {"TokenizerError"}
    (other,) = read(package, [b"MLRTOK\0\2" + data[8:]], tmp_path)
    assert "make the bundle anew" in other["message"]


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_bytes(kind: str, package: Path, hosts: Path, tmp_path: Path) -> None:
    """One to three wrong bytes in the tables: both refuse the file, or both read the same."""
    data, draw = pack_tokenizer(KINDS[kind]), random.Random(3)
    end = START + sum(map(len, taken_apart(data)[1].values()))
    files = []
    for _ in range(1500):
        broken = bytearray(data)
        for _ in range(draw.choice((1, 1, 3))):
            place = draw.randrange(len(data) if draw.random() < 0.05 else end)
            broken[place] = draw.choice([0, 1, 0x80, 0xFF, broken[place] ^ 1 << draw.randrange(8)])
        files.append(bytes(broken))
    for file, answer in zip(files, read(package, files, tmp_path), strict=True):
        try:
            wanted = expected(file)
        except TokenizerError:
            # the rest of the header, and how byte tokens are spelled, is of interest to Python only
            assert "error" in answer or file[end:] != data[end:] or b"\x06" in file
        else:
            assert answer == wanted
