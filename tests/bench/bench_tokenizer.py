"""Times mlr's tokenizers beside Hugging Face `tokenizers`, in one interleaved run.

    python tests/bench/bench_tokenizer.py [--rounds 7] [--demo FILE.gguf]

Every row is one tokenizer on 100 kB of English. Medians over the rounds; "cold" is a tokenizer
that has seen no text, "warm" the same text again, "decode" all of its ids at once, "build" from
parsed JSON (for `demo`, from the GGUF file's metadata). The ratio is mlr's time over the
library's, so smaller is better. Peers run on one thread. `--demo` adds the demo model's
vocabulary, for which the library has no file; its merges are derived from the GGUF vocabulary.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "runtime_py")]

import tokenizers  # noqa: E402

from mlr.tokenizer import Tokenizer, from_gguf, from_huggingface  # noqa: E402
from tests.parity.tokenizer.trained import trained  # noqa: E402

NAMES = ("gpt2", "llama3", "qwen2", "llama2", "gemma", "t5", "bert")
SIZE = 100_000


def english() -> str:
    """100 kB of English prose: the standard library's own documentation strings."""
    import argparse as a
    import asyncio as b
    import decimal as c
    import logging as d
    import pathlib as e
    import unittest as f

    parts: list[str] = []
    for module in (a, b, c, d, e, f):
        for value in [module, *vars(module).values()]:
            members = [value, *(vars(value).values() if isinstance(value, type) else ())]
            parts += [text for m in members if isinstance(text := getattr(m, "__doc__", None), str)]
    text = "\n".join(part for part in dict.fromkeys(parts) if part.isascii())
    while len(text) < SIZE:
        text += text
    return text[:SIZE]


def seconds(action: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def demo_pair(path: Path) -> tuple[Callable[[], Tokenizer], str]:
    """The demo model's tokenizer, and a tokenizer.json that gives about the same tokens."""
    from mlr.formats.gguf import read_gguf
    from mlr.formats.source import FileSource

    with FileSource(path) as source:
        metadata = read_gguf(source).metadata
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    types: list[int] = metadata["tokenizer.ggml.token_type"]
    scores: list[float] = metadata["tokenizer.ggml.scores"]
    ids = {token: index for index, token in enumerate(tokens)}
    merges: list[list[str]] = []
    for index in sorted(range(len(tokens)), key=lambda i: -scores[i]):
        token = tokens[index]
        if types[index] == 1:
            pairs = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
            merges += [[left, right] for left, right in pairs if left in ids and right in ids]
    content = json.loads(trained("gemma").to_str())
    content["model"] |= {"vocab": ids, "merges": merges}
    added = content["added_tokens"][0]
    content["added_tokens"] = [
        {**added, "id": i, "content": token, "special": types[i] == 3, "normalized": False}
        for i, token in enumerate(tokens)
        if types[i] in (3, 4)
    ]
    return (lambda: from_gguf(metadata)), json.dumps(content)


def one_round(make: Callable[[], Any], text: str) -> dict[str, float]:
    """Seconds that a fresh tokenizer, which `make` makes, takes for each thing measured."""
    made: list[Any] = []
    times = {"build": seconds(lambda: made.append(make()))}
    subject = made[0]
    times["cold"] = seconds(lambda: subject.encode(text))
    times["warm"] = seconds(lambda: subject.encode(text))
    encoded = subject.encode(text)
    ids = encoded if isinstance(encoded, list) else encoded.ids
    times["decode"] = seconds(lambda: subject.decode(ids))
    return times


def measure(
    name: str, text: str, rounds: int, file: str, build: Callable[[], Tokenizer] | None = None
) -> None:
    """One row: both tokenizers take turns, and each round starts with fresh ones."""
    content = json.loads(file)
    mine: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for _ in range(rounds):
        # Each side as one function that makes a tokenizer with encode and decode.
        for times, make in (
            (mine, build or (lambda: from_huggingface(content))),
            (theirs, lambda: tokenizers.Tokenizer.from_str(file)),
        ):
            for what, taken in one_round(make, text).items():
                times.setdefault(what, []).append(taken)
    row = [f"{name:<8}"]
    for what in ("build", "cold", "warm", "decode"):
        own, peer = statistics.median(mine[what]), statistics.median(theirs[what])
        row.append(f"{own * 1000:8.1f} {peer * 1000:8.1f} {own / peer:6.2f}")
    print(" | ".join(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times mlr's tokenizers beside `tokenizers`.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--demo", type=Path)
    options = parser.parse_args()
    text = english()
    print(
        f"{len(text)} characters of English, median of {options.rounds} rounds, milliseconds: "
        f"mlr, tokenizers {tokenizers.__version__}, ratio"
    )
    heads = (f"{what:^24}" for what in ("build", "encode, cold", "encode, warm", "decode"))
    print("         | " + " | ".join(heads))
    for name in NAMES:
        measure(name, text, options.rounds, trained(name).to_str())
    if options.demo:
        build, file = demo_pair(options.demo)
        measure("demo", text, options.rounds, file, build)
        measure("demo-hf", text, options.rounds, file)


if __name__ == "__main__":
    main()
