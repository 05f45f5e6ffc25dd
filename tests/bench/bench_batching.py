"""What generating together gains: tokens a second of 1, 2 and 4 sequences, and the first token with
and without a cached prefix.

    python -m tests.bench.bench_batching bundles/gemma-3-270m --threads 2
"""

from __future__ import annotations

import argparse
import asyncio
import time
from statistics import median

import mlr
from mlr.generation import Completion
from mlr.model import Model

NEW_TOKENS = 48
PREFIX_TOKENS = 512
TOPICS = ("The sea", "A small town", "In the year 1900,", "The engine of a car")
LINE = "The quick brown fox jumps over the lazy dog while seven wizards box. "


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="a bundle's folder or URL")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=3, help="runs to take the medians of")
    options = parser.parse_args()
    async with await mlr.load(
        options.bundle, threads=options.threads, context_length=1024, sequences=4
    ) as model:
        print(f"{model.info.name}, {model.info.engine_detail}, medians of {options.repeats}")
        rates = {n: [] for n in (1, 2, 4)}  # type: dict[int, list[float]]
        for _ in range(options.repeats):
            for count, measured in rates.items():
                measured.append(await _together(model, count))
        for count, measured in rates.items():
            ratio = median(measured) / median(rates[1])
            print(f"{count} at once: {median(measured):6.1f} tokens/s in all, {ratio:.2f}×")

        fresh, cached = [], []
        for number in range(options.repeats):
            prompt = _prompt(model, number)
            fresh.append(await _first_token(model, prompt))
            cached.append(await _first_token(model, [*prompt, 100 + number]))
        print(
            f"first token after {PREFIX_TOKENS} tokens: {median(fresh):.0f} ms; "
            f"with the prefix cached: {median(cached):.0f} ms"
        )


async def _together(model: Model, count: int) -> float:
    """Tokens a second of `count` generations in all, their short prompts included."""
    start = time.perf_counter()
    done = await asyncio.gather(
        *(model.generate(topic, max_tokens=NEW_TOKENS) for topic in TOPICS[:count])
    )
    tokens = sum(len(completion.token_ids) for completion in done)
    return tokens / (time.perf_counter() - start)


def _prompt(model: Model, number: int) -> list[int]:
    """Tokens that no earlier prompt begins with."""
    body = model.tokenize(LINE, add_special=False) * PREFIX_TOKENS
    return [*model.tokenize(f"{number}. "), *body][:PREFIX_TOKENS]


async def _first_token(model: Model, prompt: list[int]) -> float:
    completion: Completion = await model.generate(prompt, max_tokens=1)
    assert completion.timings.first_token_ms is not None
    return completion.timings.first_token_ms


if __name__ == "__main__":
    asyncio.run(main())
