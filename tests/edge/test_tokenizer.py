"""The JavaScript tokenizer: the ids of Hugging Face's `tokenizers`, or a refusal.

Texts with characters that Unicode has got lately are left out for the tokenizers that ask what a
character is: hosts differ in how new their tables are.
"""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest

from mlr.tokenizer import Tokenizer, from_huggingface, load_tokenizer
from mlr.tokenizer.vocabulary import SPACE
from mlr_build.packed_tokenizer import pack_tokenizer
from mlr_build.tokenizer_json import convert, encode
from tests.edge.hosts import ask_internals
from tests.parity.tokenizer.corpus import TEXTS
from tests.parity.tokenizer.trained import NAMES, trained
from tests.parity.tokenizer.vocabularies import CASES, metadata
from tests.parity.tokenizer.vocabularies import TEXTS as PACKED_TEXTS
from tests.support.bundles import package as package_bundle
from tests.unit.tokenizer import samples

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
PACKED = [case for case, (vocabulary, _) in CASES.items() if vocabulary != "t5"]


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
    task = {"task": "tokenizer", "file": file, "texts": texts, "ids": ids}
    (answer,) = ask_internals(package, [task | {"single": list(range(size))}], tmp_path)
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
    assert answer["bytes"] == [list(python.token_bytes(id)) for id in range(size)]


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_differ_is_refused(
    name: str, package: Path, hosts: Path, tmp_path: Path
) -> None:
    file = trained(name).to_str()
    task = {"task": "tokenizer", "file": file, "texts": [], "ids": []}
    (answer,) = ask_internals(package, [task], tmp_path)
    assert answer["error"] == "TokenizerError"
    assert answer["code"] == "tokenizer"
    assert REFUSED[name] in answer["message"]


def test_a_gguf_files_tokenizer(
    package: Path, hosts: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """A bundle's tokenizer in JavaScript against the same in Python."""
    manifest = json.loads((tiny_bundle / "manifest.json").read_bytes())
    data = (tiny_bundle / manifest["tokenizer"]["file"]).read_bytes()
    file = (tiny_bundle / manifest["tokenizer_json"]["file"]).read_text(encoding="utf-8")
    compare(load_tokenizer("packed", data), file, data, list(TEXTS.values()), package, tmp_path)


@pytest.mark.parametrize("case", PACKED)
def test_packed_tables_of_every_kind(case: str, package: Path, hosts: Path, tmp_path: Path) -> None:
    fields = metadata(case)
    texts = [text for text in PACKED_TEXTS.values() if case != "bert" or SPACE not in text]
    data = pack_tokenizer(fields)
    tokenizer = load_tokenizer("packed", data)
    file = encode(convert(fields, tokenizer)).decode()
    compare(tokenizer, file, data, texts, package, tmp_path)


@pytest.mark.parametrize("scores", [[-1.0, -2.0, -3.0, -3.0], [-0.25, 1e-30, -1e30, 0.5]])
def test_any_scores_and_characters_that_are_no_tokens(
    scores: list[float], package: Path, hosts: Path, tmp_path: Path
) -> None:
    """Tokens of equal scores merge from the left; `c` and `d` become a token and are none."""
    base = samples.spm()
    pieces = ["a", "b", "ab", "ba", "cd", "a▁", "▁"]
    fields = samples.spm(
        tokens=[*base["tokenizer.ggml.tokens"][:259], *pieces],
        scores=[0.0] * 259 + scores + [-3.0, -3.5, -4.0],
        token_type=[*base["tokenizer.ggml.token_type"][:259], *[1] * len(pieces)],
    )
    data = pack_tokenizer(fields)
    tokenizer = load_tokenizer("packed", data)
    draw = random.Random(9)
    texts = ["".join(draw.choices("ab cde", k=draw.randint(1, 40))) for _ in range(200)]
    file = encode(convert(fields, tokenizer)).decode()
    compare(tokenizer, file, data, texts, package, tmp_path)


@pytest.mark.parametrize("case", ["spm", "bert", "gemma4", "bpe-qwen2"])
def test_added_tokens_that_begin_alike(
    case: str, package: Path, hosts: Path, tmp_path: Path
) -> None:
    """The longest one that is there is cut out, of texts that end within one, too."""
    a, b, wide = "\ue000", "\ue001", "\U000f0000"  # in no vocabulary
    types = {a: 4, a + "a": 4, a + "a>": 3, a + "abab>": 2, b: 4, 3 * b: 4, wide: 4, wide + "😃": 3}
    fields = dict(metadata(case))
    for name, values in [("tokens", types), ("token_type", types.values()), ("scores", [0.0] * 8)]:
        if name != "scores" or "tokenizer.ggml.scores" in fields:
            fields["tokenizer.ggml." + name] = [*fields["tokenizer.ggml." + name], *values]
    data = pack_tokenizer(fields)
    tokenizer = load_tokenizer("packed", data)
    draw = random.Random(6)
    parts = [a, b, wide, "a", "b", ">", "ab", " ", "😃", 2 * b]
    texts = ["".join(draw.choices(parts, k=draw.randint(1, 30))) for _ in range(300)]
    file = encode(convert(fields, tokenizer)).decode()
    compare(tokenizer, file, data, texts, package, tmp_path)


@pytest.mark.parametrize(
    ("fields", "model", "message"),
    [
        (samples.t5(), {"type": "Unigram", "unk_id": 2}, "Unigram has no packed tables"),
        (samples.bert(), {"type": "BPE"}, "nothing that says which tokens merge"),
        (samples.t5(), {"type": "BPE"}, "nothing that says which tokens merge"),
        (samples.spm(), {"type": "WordLevel"}, "the model WordLevel"),
    ],
)
def test_tables_of_another_kind(
    fields: dict[str, Any],
    model: dict[str, Any],
    message: str,
    package: Path,
    hosts: Path,
    tmp_path: Path,
) -> None:
    steps: dict[str, Any] = {"normalizer": None, "pre_tokenizer": None, "post_processor": None}
    file = json.dumps(steps | {"decoder": None, "model": model})
    tables = base64.b64encode(pack_tokenizer(fields)).decode()
    task = {"task": "tokenizer", "file": file, "tables": tables, "texts": [], "ids": []}
    (answer,) = ask_internals(package, [task], tmp_path)
    assert (answer["error"], answer["code"]) == ("TokenizerError", "tokenizer")
    assert message in answer["message"]


def compare(
    python: Tokenizer, file: str, tables: bytes, texts: list[str], package: Path, folder: Path
) -> None:
    """Ids of texts, and texts of these and of any ids, at once and one by one."""
    draw, size = random.Random(5), python.vocabulary_size
    ids: list[list[int]] = [python.encode(text) for text in texts]
    ids += [[draw.randrange(size) for _ in range(draw.randint(1, 12))] for _ in range(200)]
    task: dict[str, Any] = {"task": "tokenizer", "file": file}
    task["tables"] = base64.b64encode(tables).decode()
    task |= {"texts": texts, "ids": ids, "single": [*range(size), size]}
    (answer,) = ask_internals(package, [task], folder)
    for number, text in enumerate(texts):
        assert answer["encoded"][number] == ids[number], text
        assert answer["plain"][number] == python.encode(text, add_special=False), text
    for number, sequence in enumerate(ids):
        assert answer["decoded"][number] == python.decode(sequence), sequence
        assert answer["streamed"][number] == python.decode(sequence), sequence
    assert answer["bytes"] == [*(list(python.token_bytes(id)) for id in range(size)), []]


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with SentencePiece's tokenizer in its GGUF metadata."""
    return package_bundle(tmp_path_factory.mktemp("tiny"), n_layers=1)
