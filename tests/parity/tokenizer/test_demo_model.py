"""The demo model's tokenizer as a tokenizer.json, against the tables of its bundle."""

from __future__ import annotations

import random
from pathlib import Path

from tokenizers import Tokenizer as Oracle

from mlr.bundle.manifest_reader import parse_manifest
from mlr.formats.gguf import read_gguf
from mlr.formats.source import FileSource
from mlr.tokenizer import load_tokenizer
from mlr_build.tokenizer_json import encode
from tests.parity.tokenizer.corpus import TEXTS
from tests.support.tokenizer_json import whole_tokenizer_json


def test_a_tokenizer_json_gives_the_same_ids(demo_gguf: Path, demo_bundle: Path) -> None:
    manifest = parse_manifest((demo_bundle / "manifest.json").read_bytes(), "manifest.json")
    with FileSource(demo_gguf) as source:
        metadata = read_gguf(source).metadata
    oracle = Oracle.from_str(encode(whole_tokenizer_json(metadata)).decode())
    data = (demo_bundle / manifest.tokenizer.file).read_bytes()
    tokenizer = load_tokenizer(manifest.tokenizer.format, data)
    draw = random.Random(1)
    alphabet = sorted(set("".join(TEXTS.values())))
    noise = ["".join(draw.choices(alphabet, k=draw.randint(1, 40))) for _ in range(200)]
    for text in [*TEXTS.values(), *noise]:
        ids = tokenizer.encode(text)
        assert oracle.encode(text).ids == ids, repr(text)
        assert oracle.decode(ids) == tokenizer.decode(ids), repr(text)
