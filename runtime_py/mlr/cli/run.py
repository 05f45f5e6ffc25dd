"""`mlr run`: generate text from a prompt, streamed as it comes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlr.cli.arguments import (
    add_draft_option,
    add_json_option,
    add_loading_options,
    add_sampling_options,
    read_text,
    whole,
)
from mlr.cli.loading import load_model
from mlr.cli.output import format_rate, peak_memory_bytes, print_json
from mlr.errors import RequestError

if TYPE_CHECKING:
    from mlr.generation import Timings

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder or URL")
    parser.add_argument(
        "prompt", metavar="PROMPT", nargs="?", help="the text to continue (default: standard input)"
    )
    parser.add_argument(
        "--max-tokens",
        type=whole(1, 2**24),
        default=128,
        metavar="N",
        help="stop after N tokens (default: %(default)s)",
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="stop before this text; may be given several times",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json-schema", metavar="FILE", help="generate JSON that is valid under this schema"
    )
    form.add_argument(
        "--grammar", metavar="FILE", help="generate text that follows this grammar (GBNF)"
    )
    add_sampling_options(parser)
    add_loading_options(parser)
    add_draft_option(parser)
    add_json_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    response_format = _response_format(args)
    asyncio.run(_generate(args, read_text(args.prompt, "the prompt"), response_format))
    return 0


def _response_format(args: argparse.Namespace) -> dict[str, Any] | None:
    """What the files that the arguments name ask for. Raises `RequestError`."""
    if args.grammar is not None:
        return {"type": "grammar", "grammar": _read_file(args.grammar)}
    if args.json_schema is None:
        return None
    text = _read_file(args.json_schema)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{args.json_schema} is not JSON: {error}") from None
    return {"type": "json_schema", "json_schema": {"schema": schema}}


def _read_file(name: str) -> str:
    try:
        return Path(name).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise RequestError(f"{name} cannot be read: {error}") from None


def _guesses(timings: Timings) -> str:
    if not timings.guessed_tokens:
        return ""
    return f"{timings.confirmed_tokens} of {timings.guessed_tokens} guesses right; "


async def _generate(
    args: argparse.Namespace, prompt: str, response_format: dict[str, Any] | None
) -> None:
    model = await load_model(args, draft=args.draft)
    try:
        stream = model.stream(
            prompt,
            max_tokens=args.max_tokens,
            stop=args.stop,
            temperature=args.temperature,
            top_k=args.top_k,
            top_p=args.top_p,
            min_p=args.min_p,
            repeat_penalty=args.repeat_penalty,
            frequency_penalty=args.frequency_penalty,
            presence_penalty=args.presence_penalty,
            response_format=response_format,
            seed=args.seed,
        )
        async with contextlib.aclosing(stream):
            async for token in stream:
                if not args.json and token.text:
                    sys.stdout.write(token.text)
                    sys.stdout.flush()
        completion = stream.completion
        assert completion is not None  # the stream was read to its end
        info = model.info
    finally:
        await model.close()

    timings = completion.timings
    if args.json:
        print_json(
            {
                "text": completion.text,
                "token_ids": list(completion.token_ids),
                "prompt_token_ids": list(completion.prompt_token_ids),
                "finish_reason": completion.finish_reason,
                "engine": info.engine,
                "timings": dataclasses.asdict(timings),
                "peak_memory_bytes": peak_memory_bytes(),
            }
        )
        return
    print(flush=True)
    first = "-" if timings.first_token_ms is None else f"{timings.first_token_ms:.0f} ms"
    print(
        f"{len(completion.token_ids)} tokens, {format_rate(timings.decode_tokens_per_s)}; "
        f"first token after {first}; "
        f"prompt {len(completion.prompt_token_ids)} tokens, "
        f"{format_rate(timings.prompt_tokens_per_s)}; "
        f"{_guesses(timings)}"
        f"{info.engine} ({info.engine_detail}); ended by {completion.finish_reason}",
        file=sys.stderr,
    )
