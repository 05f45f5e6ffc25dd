"""What guessing gains: tokens a second without, by look-up, and with a draft model.

    python -m tests.bench.bench_speculation [--threads 2] [--tokens 96] [--repeats 3]

in the repository's root. The pairs of models are made of the demo model (`pairs.py` says how and
why) in a temporary folder: 2 GB, and a minute. With `--bundle` and `--draft` a pair of one's own is
measured. The ways take turns, and all give the same tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

import mlr
from mlr.generation import Completion
from mlr.model import Model
from tests.bench import pairs
from tests.bench.measure import DEMO_MODEL, machine

TIMES = 10  # layers of the large model, by those of the demo model
CUT = 15  # layers of the bad draft, of 18
WAYS: dict[str, str | None] = {"plain": None, "look-up": "lookup", "draft": "draft"}
TEXTS = {
    "code": "".join(f"def get_{n}(self):\n    return self._{n}\n\n" for n in ("name", "size")),
    "prose": "The lighthouse had stood on the headland for two hundred years before",
}
OPTIONS: dict[str, dict[str, Any]] = {"greedy": {}, "sampled": {"temperature": 0.8, "seed": 1}}


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="a model of one's own")
    parser.add_argument("--draft", type=Path, help="and its draft")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="count the processor's time of one thread, on a machine that others use too",
    )
    parser.add_argument("--tokens", type=int, default=96, help="tokens to generate")
    parser.add_argument("--repeats", type=int, default=3, help="runs to take the medians of")
    options = parser.parse_args()
    print(f"medians of {options.repeats} runs in turns, {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        if options.bundle:
            chosen = iter([("given", options.bundle, options.draft)])
        else:
            chosen = _pairs(Path(folder))
        for name, bundle, draft in chosen:
            await _compare(name, bundle, draft, options)


async def _compare(
    name: str, bundle: Path, draft: Path | None, options: argparse.Namespace
) -> None:
    """Print the table of a pair."""
    table = Table(title=name, title_justify="left")
    table.add_column("tokens a second")
    for column in (*WAYS, "look-up", "draft", "its guesses right"):
        table.add_column(column, justify="right")
    threads = 1 if options.cpu else options.threads
    async with await mlr.load(bundle, draft=draft, threads=threads, context_length=512) as model:
        if options.cpu:
            _count_processor_time(model)
        for style, sampling in OPTIONS.items():
            for kind, text in TEXTS.items():
                row = await _measure(model, text, options.tokens, options.repeats, sampling)
                table.add_row(f"{kind}, {style}", *row)
    Console(width=120).print(table)


def _count_processor_time(model: Model) -> None:
    """What is measured, and what guessing is decided by, is no longer the time that passes."""
    assert model._draft is not None
    model._scheduler._clock = model._draft.clock = time.process_time


async def _measure(
    model: Model, text: str, tokens: int, repeats: int, sampling: dict[str, Any]
) -> list[str]:
    """The cells of a row; all ways must give the same tokens."""
    done: dict[str, list[Completion]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, speculate in WAYS.items():
            completion = await model.generate(
                text, max_tokens=tokens, speculate=speculate, **sampling
            )
            assert completion.token_ids == done["plain"][0].token_ids if done["plain"] else True
            done[way].append(completion)
    rates = {
        way: median(c.timings.decode_tokens_per_s or 0.0 for c in completions)
        for way, completions in done.items()
    }
    timings = done["draft"][-1].timings
    return [
        *(f"{rate:.1f}" for rate in rates.values()),
        *(f"{rates[way] / rates['plain']:.2f}×" for way in ("look-up", "draft")),
        f"{timings.confirmed_tokens} of {timings.guessed_tokens}",
    ]


def _pairs(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """What is compared, the model and its draft."""
    tensors = pairs.read(DEMO_MODEL)
    makers: dict[str, Callable[[], Iterator[pairs.Tensor]]] = {
        "demo": lambda: iter(tensors),
        "large": lambda: pairs.stretched(tensors, TIMES),
        "coarse": lambda: pairs.coarse(tensors),
        "cut": lambda: pairs.cut(tensors, CUT),
        "F16": lambda: pairs.widened(tensors),
    }
    made: dict[str, Path] = {}
    for model, draft, name in (
        ("large", "demo", f"{TIMES} × the layers, a perfect draft"),
        ("large", "coarse", "the same, a good one (Q4_0)"),
        ("large", "cut", f"the same, a bad one ({CUT} of 18 layers)"),
        ("F16", "demo", "F16, its Q4_K_M"),
        ("demo", "demo", "Q4_K_M, itself"),
    ):
        for part in (model, draft):
            if part not in made:
                with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                    made[part] = pairs.package(DEMO_MODEL, makers[part](), part, folder)
        yield name, made[model], made[draft]


if __name__ == "__main__":
    asyncio.run(main())
