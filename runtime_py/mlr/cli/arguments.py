"""Argument types with ranges, and the groups of options that several commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from mlr.engines.selector import ENGINES
from mlr.errors import RequestError

__all__ = [
    "add_draft_option",
    "add_json_option",
    "add_loading_options",
    "add_sampling_options",
    "read_text",
    "real",
    "whole",
]

MAX_THREADS = 64  # of the kernel
MAX_CONTEXT = 2**24  # tokens; far over any model, the model's own limit is checked on loading
MAX_STANDARD_INPUT = 64 * 2**20  # bytes; far over any context window


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argument type: a whole number from `low` to `high`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}, got {text}")
        return value

    return convert


def real(low: float, high: float) -> Callable[[str], float]:
    """An argument type: a number from `low` to `high`; NaN is none."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low:g} to {high:g}, got {text}")
        return value

    return convert


def add_loading_options(parser: argparse.ArgumentParser, *, engine: bool = True) -> None:
    """Add `--engine`, `--threads`, `--context-length` and `--kv-type`."""
    if engine:
        parser.add_argument(
            "--engine",
            choices=("auto", *ENGINES),
            default="auto",
            help="what computes (default: %(default)s)",
        )
    parser.add_argument(
        "--threads",
        type=whole(1, MAX_THREADS),
        metavar="N",
        help="threads that compute (default: this machine's cores, at most 8)",
    )
    parser.add_argument(
        "--context-length",
        type=whole(1, MAX_CONTEXT),
        metavar="N",
        help="tokens of context to make room for (default: the model's, at most 4096)",
    )
    parser.add_argument(
        "--kv-type",
        choices=("q16", "q8"),
        default="q16",
        help="how the KV cache is held; q8 takes half the memory (default: %(default)s)",
    )


def add_draft_option(parser: argparse.ArgumentParser) -> None:
    """Add `--draft`."""
    parser.add_argument(
        "--draft",
        metavar="BUNDLE",
        help="a smaller model with the same vocabulary, which guesses what comes next: the same "
        "text, sooner where it is good at that and much quicker",
    )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the next token is chosen."""
    parser.add_argument(
        "--temperature",
        type=real(0, 100),
        default=0.0,
        metavar="T",
        help="0 always takes the likeliest token (default: %(default)s)",
    )
    parser.add_argument(
        "--top-k",
        type=whole(0, 2**31 - 1),
        default=0,
        metavar="K",
        help="choose among the K likeliest tokens; 0: among all (default: %(default)s)",
    )
    parser.add_argument(
        "--top-p",
        type=real(0, 1),
        default=1.0,
        metavar="P",
        help="choose among the likeliest tokens that make up this probability "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--min-p",
        type=real(0, 1),
        default=0.0,
        metavar="P",
        help="drop tokens less likely than P times the likeliest (default: %(default)s)",
    )
    parser.add_argument(
        "--repeat-penalty",
        type=real(0.01, 100),
        default=1.0,
        metavar="R",
        help="divide the odds of recent tokens by R (default: %(default)s)",
    )
    for name, what in (
        ("frequency", "for each time that it is among the recent tokens"),
        ("presence", "once when it is among the recent tokens"),
    ):
        parser.add_argument(
            f"--{name}-penalty",
            type=real(-2, 2),
            default=0.0,
            metavar="P",
            help=f"lower a token's logit by P {what} (default: %(default)s)",
        )
    parser.add_argument(
        "--seed",
        type=whole(0, 2**64 - 1),
        metavar="S",
        help="make sampling repeatable (default: another seed each time)",
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def read_text(argument: str | None, name: str) -> str:
    """The text of an argument, or of standard input when it is absent or `-`.

    One line end at the end of standard input is dropped: `echo` adds it, nobody means it.
    Raises `RequestError` for text that is not UTF-8.
    """
    if argument is not None and argument != "-":
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise RequestError(f"{name} is not valid UTF-8") from None
        return argument
    if sys.stdin.isatty():
        print(f"Reading {name} from the terminal; Ctrl-D ends it.", file=sys.stderr)
    data = sys.stdin.buffer.read(MAX_STANDARD_INPUT + 1)
    if len(data) > MAX_STANDARD_INPUT:
        raise RequestError(f"{name} on standard input is over {MAX_STANDARD_INPUT >> 20} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{name} on standard input is not valid UTF-8: byte {error.start}"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
