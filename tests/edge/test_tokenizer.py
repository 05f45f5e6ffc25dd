"""The JavaScript tokenizer: the ids of Hugging Face's `tokenizers`, or a refusal.

Texts with characters that Unicode has got lately are left out for the tokenizers that ask what a
character is: hosts differ in how new their tables are.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from mlr.tokenizer import from_huggingface, load_tokenizer
from tests.edge.hosts import ask_internals
from tests.parity.tokenizer.corpus import TEXTS
from tests.parity.tokenizer.trained import NAMES, trained
from tests.support.tiny_models import tiny_gguf

REFUSED = {
    "t5": "the normalizer Nmt",
    "albert": "Unigram with byte_fallback",
    "bert_cased": "the pre-tokenizer Whitespace",
    "prefixed_bpe": "BPE with a continuing_subword_prefix",
    "wordlevel": "the model WordLevel",
}
DIFFERENT = {
    "bert": {"new_punctuation", "new_characters"},
    "openai_gpt": {"mixed_spaces", "zero_width", "controls", "new_punctuation"},
}


def texts_for(name: str) -> list[str]:
    """Every text of the corpus on which the two can agree."""
    return [text for title, text in TEXTS.items() if title not in DIFFERENT.get(name, ())]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REFUSED])
def test_same_ids_and_texts(name: str, package: Path, hosts: Path, tmp_path: Path) -> None:
    oracle, texts = trained(name), texts_for(name)
    draw = random.Random(4)
    size = oracle.get_vocab_size()
    ids = [oracle.encode(text).ids for text in texts]
    ids += [[draw.randrange(size) for _ in range(draw.randint(1, 12))] for _ in range(100)]
    file = oracle.to_str()
    task = {"task": "tokenizer", "file": file, "fromGguf": False, "texts": texts, "ids": ids}
    (answer,) = ask_internals(package, [task], tmp_path)
    for number, text in enumerate(texts):
        assert answer["encoded"][number] == oracle.encode(text).ids, text
        plain = oracle.encode(text, add_special_tokens=False).ids
        assert answer["plain"][number] == plain, text
    for number, sequence in enumerate(ids):
        expected = oracle.decode(sequence) if sequence else ""
        assert answer["decoded"][number] == expected, sequence
        assert answer["streamed"][number] == expected, sequence
    python = from_huggingface(json.loads(file))
    assert set(answer["ends"]) == python.end_ids


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_differ_is_refused(
    name: str, package: Path, hosts: Path, tmp_path: Path
) -> None:
    file = trained(name).to_str()
    task = {"task": "tokenizer", "file": file, "fromGguf": False, "texts": [], "ids": []}
    (answer,) = ask_internals(package, [task], tmp_path)
    assert answer["error"] == "TokenizerError"
    assert answer["code"] == "tokenizer"
    assert REFUSED[name] in answer["message"]


def test_a_gguf_files_tokenizer(
    package: Path, hosts: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The bundle's tokenizer.json in JavaScript against its GGUF metadata in Python."""
    manifest = json.loads((tiny_bundle / "manifest.json").read_bytes())
    python = load_tokenizer("packed", (tiny_bundle / manifest["tokenizer"]["file"]).read_bytes())
    file = (tiny_bundle / manifest["tokenizer_json"]["file"]).read_text(encoding="utf-8")
    texts, draw = list(TEXTS.values()), random.Random(5)
    ids: list[list[int]] = [python.encode(text) for text in texts]
    ids += [[draw.randrange(301) for _ in range(draw.randint(1, 12))] for _ in range(200)]
    task: dict[str, Any] = {"task": "tokenizer", "file": file, "fromGguf": True}
    (answer,) = ask_internals(package, [task | {"texts": texts, "ids": ids}], tmp_path)
    assert answer["encoded"] == ids[: len(texts)]
    assert answer["decoded"] == [python.decode(sequence) for sequence in ids]
    assert answer["streamed"] == answer["decoded"]


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with SentencePiece's tokenizer in its GGUF metadata."""
    from mlr_build.cli import main as mlr_build

    folder = tmp_path_factory.mktemp("tiny")
    source = tiny_gguf(folder / "tiny.gguf", n_layers=1)
    assert mlr_build(["package", str(source), "--out", str(folder / "tiny")]) == 0
    return folder / "tiny"
