"""Writes golden/: small vocabularies, and what llama.cpp makes of the corpus with them.

    python -m tests.parity.tokenizer.make_golden [--train] [--demo FILE.gguf]

`--train` makes new vocabularies first (training is not the same from run to run, so they are
kept in the repository). `--demo` adds the results of the demo model's own vocabulary.
Needs llama-cpp-python, which `make test` does without.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.parity.tokenizer.llama_cpp_oracle import LlamaCppVocabulary
from tests.parity.tokenizer.vocabularies import (
    CASES,
    GOLDEN,
    TEXTS,
    digest,
    metadata,
    results_file,
    write_gguf,
)

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def spm() -> dict[str, Any]:
    """SentencePiece BPE: control, byte and user-defined tokens, then pieces with scores."""
    from tests.parity.tokenizer.trained import BYTE_TOKENS, trained

    model = json.loads(trained("llama2").to_str())["model"]
    pieces = [t for t, i in sorted(model["vocab"].items(), key=lambda item: item[1]) if i >= 259]
    user = ["\n", "\n\n", "\n\n\n", "  ", "    ", "\t\t", "<b>", "newtoken"]
    pieces = [piece for piece in pieces if piece not in user][:900]
    head = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    tokens = head + BYTE_TOKENS + user + pieces
    types = [UNKNOWN] + [CONTROL] * 4 + [BYTE] * 256 + [USER_DEFINED] * len(user)
    types += [NORMAL] * len(pieces)
    scores = [0.0] * (len(tokens) - len(pieces)) + [-float(i) for i in range(len(pieces))]
    return {
        "model": "llama",
        "pre": "default",
        "tokens": tokens,
        "token_type": types,
        "scores": scores,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }


def bpe() -> dict[str, Any]:
    """Byte-level BPE, with the merges that two-part patterns allow as well."""
    from tests.parity.tokenizer.trained import trained

    content = json.loads(trained("llama3").to_str())
    model = content["model"]
    tokens = [t for t, _ in sorted(model["vocab"].items(), key=lambda item: item[1])][:900]
    known = set(tokens)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    merges = [m for m in merges if {*m.split(" "), m.replace(" ", "")} <= known]
    special = [entry["id"] for entry in content["added_tokens"]]
    types = [CONTROL if i in special else NORMAL for i in range(len(tokens))]
    types[tokens.index("<|im_start|>")] = USER_DEFINED
    return {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": types,
        "merges": merges,
        "bos_token_id": tokens.index("<s>"),
        "add_bos_token": True,
        "eos_token_id": tokens.index("<|endoftext|>"),
        "add_eos_token": False,
    }


def bert() -> dict[str, Any]:
    from tests.parity.tokenizer.trained import trained

    vocab = json.loads(trained("bert").to_str())["model"]["vocab"]
    tokens = [t for t, _ in sorted(vocab.items(), key=lambda item: item[1])]
    types = [CONTROL if i < 5 else NORMAL for i in range(len(tokens))]
    types[1] = UNKNOWN
    for index in range(5, len(tokens)):
        token = tokens[index]
        tokens[index] = token[2:] if token.startswith("##") else "▁" + token
    return {
        "model": "bert",
        "tokens": tokens,
        "token_type": types,
        "bos_token_id": 2,
        "seperator_token_id": 3,
        "unknown_token_id": 1,
        "padding_token_id": 0,
    }


def t5() -> dict[str, Any]:
    import numpy as np

    from tests.parity.tokenizer.trained import trained

    pairs = json.loads(trained("t5").to_str())["model"]["vocab"]
    user = ["<extra_1>", "newtoken"]
    tokens = [token for token, _ in pairs] + user
    types = [CONTROL, CONTROL, UNKNOWN] + [NORMAL] * (len(pairs) - 3) + [USER_DEFINED] * 2
    scores = [float(np.float32(score)) for _, score in pairs] + [0.0, 0.0]
    return {
        "model": "t5",
        "tokens": tokens,
        "token_type": types,
        "scores": scores,
        "eos_token_id": 1,
        "unknown_token_id": 2,
        "padding_token_id": 0,
    }


def gemma4() -> dict[str, Any]:
    """The pieces of `spm` with a list of merges."""
    from tests.parity.tokenizer.trained import trained

    fields = spm()
    known = set(fields["tokens"])
    merges = json.loads(trained("llama2").to_str())["model"]["merges"]
    texts = [m if isinstance(m, str) else " ".join(m) for m in merges]
    texts = [m for m in texts if {*m.split(" "), m.replace(" ", "")} <= known]
    return {**fields, "model": "gemma4", "pre": "gemma4", "merges": texts, "add_bos_token": True}


VOCABULARIES: tuple[Callable[[], dict[str, Any]], ...] = (spm, bpe, bert, t5, gemma4)


def ask(path: Path) -> dict[str, list[str]]:
    """For every text: digests of its ids with special tokens parsed, and without."""
    with LlamaCppVocabulary(path) as oracle:
        return {
            name: [
                digest(oracle.encode(text, add_special=True, parse_special=parse))
                for parse in (True, False)
            ]
            for name, text in TEXTS.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--demo", type=Path)
    options = parser.parse_args()
    GOLDEN.mkdir(exist_ok=True)
    if options.train:
        content = {maker.__name__: maker() for maker in VOCABULARIES}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        (GOLDEN / "vocabularies.json").write_text(text)
    results: dict[str, Any] = {}
    if results_file().exists():
        results = {k: v for k, v in json.loads(results_file().read_text()).items() if k == "demo"}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            path = Path(folder) / f"{case}.gguf"
            write_gguf(path, metadata(case))
            results[case] = ask(path)
    if options.demo:
        results["demo"] = ask(options.demo)
    results_file().write_text(json.dumps(results, indent=0))


if __name__ == "__main__":
    main()
