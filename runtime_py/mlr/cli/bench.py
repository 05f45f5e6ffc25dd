"""`mlr bench`: how fast a bundle loads, reads a prompt and generates, and what memory it takes."""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlr.cli.arguments import add_draft_option, add_json_option, add_loading_options, whole
from mlr.cli.loading import load_model
from mlr.cli.output import (
    format_bytes,
    format_rate,
    peak_memory_bytes,
    print_json,
    print_table,
)
from mlr.errors import RequestError

if TYPE_CHECKING:
    from mlr.generation import Completion
    from mlr.model import Model, ModelInfo

__all__ = ["configure", "execute"]

# Any text will do: the time does not depend on what the tokens say.
TEXT = "The quick brown fox jumps over the lazy dog while seven wizards box. "


@dataclass(frozen=True, slots=True)
class _Run:
    """One load and one generation."""

    info: ModelInfo
    completion: Completion


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder or URL")
    for name, default, help_text in (
        ("--prompt-tokens", 64, "tokens of prompt"),
        ("--new-tokens", 64, "tokens to generate"),
    ):
        parser.add_argument(
            name,
            type=whole(1, 2**20),
            default=default,
            metavar="N",
            help=f"{help_text} (default: %(default)s)",
        )
    parser.add_argument(
        "--repeat",
        type=whole(1, 1000),
        default=3,
        metavar="N",
        help="runs to take the medians of, each with its own load (default: %(default)s)",
    )
    add_loading_options(parser)
    add_draft_option(parser)
    add_json_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    runs = asyncio.run(_measure(args))
    info = runs[-1].info
    timings = [run.completion.timings for run in runs]
    load_ms = statistics.median(run.info.load_ms for run in runs)
    first_token_ms = _median(timing.first_token_ms for timing in timings)
    prompt_rate = _median(timing.prompt_tokens_per_s for timing in timings)
    decode_rate = _median(timing.decode_tokens_per_s for timing in timings)
    new_tokens = len(runs[-1].completion.token_ids)
    peak = peak_memory_bytes()
    if args.json:
        print_json(
            {
                "bundle": info.name,
                "quantization": info.quantization,
                "engine": info.engine,
                "engine_detail": info.engine_detail,
                "threads": info.threads,
                "repeat": args.repeat,
                "prompt_tokens": args.prompt_tokens,
                "new_tokens": new_tokens,
                "load_ms": load_ms,
                "first_token_ms": first_token_ms,
                "prompt_tokens_per_s": prompt_rate,
                "decode_tokens_per_s": decode_rate,
                "memory": {
                    "weights": info.memory.weights,
                    "kv_cache": info.memory.kv_cache,
                    "scratch": info.memory.scratch,
                },
                "peak_memory_bytes": peak,
            }
        )
        return 0
    print_table(
        f"{info.name} {info.quantization}, {info.engine} ({info.engine_detail}), "
        f"medians of {args.repeat}",
        [
            ("load", f"{load_ms:.0f} ms"),
            ("first token", "-" if first_token_ms is None else f"{first_token_ms:.0f} ms"),
            (f"prefill, {args.prompt_tokens} tokens", format_rate(prompt_rate)),
            (f"decode, {new_tokens} tokens", format_rate(decode_rate)),
            ("weights", format_bytes(info.memory.weights)),
            ("KV cache", format_bytes(info.memory.kv_cache)),
            ("scratch", format_bytes(info.memory.scratch)),
            ("peak of the process", "-" if peak is None else format_bytes(peak)),
        ],
    )
    return 0


async def _measure(args: argparse.Namespace) -> list[_Run]:
    runs = []
    for _ in range(args.repeat):
        model = await load_model(args, draft=args.draft)
        try:
            prompt = _prompt(model, args.prompt_tokens, args.new_tokens)
            completion = await model.generate(prompt, max_tokens=args.new_tokens)
            runs.append(_Run(model.info, completion))
        finally:
            await model.close()
    return runs


def _prompt(model: Model, length: int, new_tokens: int) -> list[int]:
    """A prompt of exactly `length` tokens; raises `RequestError` when the context is too short."""
    context = model.info.context_length
    if length + new_tokens > context:
        raise RequestError(
            f"{length} prompt tokens and {new_tokens} new ones do not fit the context of "
            f"{context} tokens: lower --prompt-tokens or --new-tokens, or raise --context-length"
        )
    head = model.tokenize("")[:length]  # what begins every sequence of this model
    body = model.tokenize(TEXT, add_special=False)
    repeats = -(-length // len(body))
    return (head + body * repeats)[:length]


def _median(values: Iterable[float | None]) -> float | None:
    """The median of what was measured; None when nothing was."""
    measured = [value for value in values if value is not None]
    return statistics.median(measured) if measured else None
