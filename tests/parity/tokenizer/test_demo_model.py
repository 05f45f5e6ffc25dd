"""The tokenizer.json of the demo model's bundle, against its GGUF tokenizer."""

from __future__ import annotations

import random
from pathlib import Path

from tokenizers import Tokenizer as Oracle

from mlr.bundle.manifest_reader import parse_manifest
from mlr.tokenizer import load_tokenizer
from tests.parity.tokenizer.corpus import TEXTS


def test_tokenizer_json_gives_the_same_ids(demo_bundle: Path) -> None:
    manifest = parse_manifest((demo_bundle / "manifest.json").read_bytes(), "manifest.json")
    assert manifest.tokenizer_json is not None
    oracle = Oracle.from_file(str(demo_bundle / manifest.tokenizer_json.file))
    data = (demo_bundle / manifest.tokenizer.file).read_bytes()
    tokenizer = load_tokenizer(manifest.tokenizer.format, data)
    draw = random.Random(1)
    alphabet = sorted(set("".join(TEXTS.values())))
    noise = ["".join(draw.choices(alphabet, k=draw.randint(1, 40))) for _ in range(200)]
    for text in [*TEXTS.values(), *noise]:
        ids = tokenizer.encode(text)
        assert oracle.encode(text).ids == ids, repr(text)
        assert oracle.decode(ids) == tokenizer.decode(ids), repr(text)
