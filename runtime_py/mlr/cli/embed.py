"""`mlr embed`: turn texts into vectors."""

from __future__ import annotations

import argparse
import asyncio
import sys

from mlr.cli.arguments import add_json_option, add_loading_options, read_text
from mlr.cli.loading import load_model
from mlr.cli.output import print_json
from mlr.embedding import Embeddings

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder or URL")
    parser.add_argument(
        "texts", metavar="TEXT", nargs="+", help="a text; `-` reads one from standard input"
    )
    parser.add_argument(
        "--prompt-name", metavar="NAME", help="put this prompt of the model's in front"
    )
    parser.add_argument(
        "--no-truncate",
        action="store_true",
        help="refuse a text that is too long instead of cutting it",
    )
    parser.add_argument(
        "--pooling",
        choices=("last", "mean", "cls"),
        help="make a text's vector in this way (default: as the model's own files say)",
    )
    add_loading_options(parser)
    add_json_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    texts = [read_text(text, "a text") for text in args.texts]
    made = asyncio.run(_embed(args, texts))
    if args.json:
        print_json(
            {
                "embeddings": made.vectors,
                "dimensions": len(made.vectors[0]),
                "tokens": made.tokens,
                "truncated": list(made.truncated),
            }
        )
        return 0
    for vector in made.vectors:
        print(" ".join(f"{value:.6g}" for value in vector))
    for index in made.truncated:
        print(f"text {index + 1} was longer than the model takes and was cut", file=sys.stderr)
    return 0


async def _embed(args: argparse.Namespace, texts: list[str]) -> Embeddings:
    model = await load_model(args, pooling=args.pooling)
    try:
        return await model.embed(texts, prompt_name=args.prompt_name, truncate=not args.no_truncate)
    finally:
        await model.close()
