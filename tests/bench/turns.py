"""Engines that decode and read a prompt in turns: what the benchmarks of generation share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from tests.bench.measure import DECODE_PROMPT, DEMO_MODEL, Row, long_prompts, model_tokenizer
from tests.bench.streaming import bytes_per_token

__all__ = ["CONTEXT", "Engine", "Prompt", "describe", "options_parser", "take_turns"]

CONTEXT = 1024
WARM_UP_TOKENS = 16


@dataclass(frozen=True)
class Prompt:
    """A text and its token ids; an engine takes the one or the other."""

    text: str
    tokens: list[int]


class Engine(Protocol):
    """An engine with the model loaded that times itself."""

    def prefill(self, prompt: Prompt) -> float:
        """Prompt tokens a second."""

    def decode(self, prompt: Prompt, count: int) -> float:
        """Tokens a second of `count` greedy ones after a prompt."""


def options_parser(description: str) -> argparse.ArgumentParser:
    """The options of such a benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", type=Path, nargs="?", default=DEMO_MODEL, help="a GGUF file")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    return parser


def take_turns(
    engines: Mapping[str, Engine],
    stream: Callable[[], float],
    options: argparse.Namespace,
    threads: int,
) -> tuple[list[Row], str]:
    """Decoding and prefill on all engines, mlr the first of them, and how far decoding is from
    what memory allows: `stream` measures the bytes a second that mlr's host reads, in turns, too.
    """
    tokenizer = model_tokenizer(options.model)

    def encoded(text: str) -> Prompt:
        return Prompt(text, tokenizer.encode(text))

    prompts = map(encoded, long_prompts(tokenizer, options.prompt_tokens))
    short = encoded(DECODE_PROMPT)
    decode = Row("decode", threads, {name: [] for name in engines})
    prefill = Row(f"prefill {options.prompt_tokens}", threads, {name: [] for name in engines})
    bandwidths = []
    for engine in engines.values():
        engine.prefill(next(prompts))
        engine.decode(short, WARM_UP_TOKENS)
    for _ in range(options.repeats):
        for name, engine in engines.items():
            decode.rates[name].append(engine.decode(short, options.new_tokens))
        prompt = next(prompts)
        for name, engine in engines.items():
            prefill.rates[name].append(engine.prefill(prompt))
        bandwidths.append(stream())
    bandwidth, weights = median(bandwidths), bytes_per_token(options.model)
    ours = next(iter(decode.rates))
    note = (
        f"{threads} thread(s): memory is read at {bandwidth / 1e9:.1f} GB/s in WebAssembly here; a "
        f"greedy token reads {weights / 1e6:.0f} MB or a little more, so at most "
        f"{bandwidth / weights:.0f} tokens/s; {ours} reaches "
        f"{median(decode.rates[ours]) * weights / bandwidth:.0%} of that"
    )
    return [decode, prefill], note


def describe(options: argparse.Namespace) -> list[str]:
    """Notes on what was measured and how often."""
    return [
        f"decode: {options.new_tokens} tokens, greedy; "
        f"prefill: a prompt of {options.prompt_tokens} tokens",
        f"medians (and ranges) of {options.repeats} runs, in turns, after a warm-up of all",
    ]
