"""`mlr tokenize`: show the tokens of a text. Loads the tokenizer only, not the weights."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from mlr.cli.arguments import add_json_option, read_text
from mlr.cli.output import print_json

if TYPE_CHECKING:
    from mlr.tokenizer import Tokenizer

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a bundle's folder or URL")
    parser.add_argument("text", metavar="TEXT", help="the text; `-` reads standard input")
    add_json_option(parser)


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    text = read_text(args.text, "the text")
    tokenizer = asyncio.run(_load_tokenizer(args.bundle))
    ids = tokenizer.encode(text)
    pieces = [tokenizer.piece(token) for token in ids]
    if args.json:
        print_json({"ids": ids, "pieces": pieces})
        return 0
    width = len(str(max(ids, default=0)))
    for token, piece in zip(ids, pieces, strict=True):
        print(f"{token:>{width}}  {piece!r}")
    return 0


async def _load_tokenizer(location: str) -> Tokenizer:
    from mlr import hosts
    from mlr.bundle.reader import open_bundle
    from mlr.tokenizer import load_tokenizer

    bundle = await open_bundle(location, hosts.current())
    entry = bundle.manifest.tokenizer
    return load_tokenizer(entry.format, await bundle.read_file(entry))
