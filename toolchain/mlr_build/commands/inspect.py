"""`mlr-build inspect`: say what is in a model or a bundle, and what it needs."""

from __future__ import annotations

import argparse

HELP = "say what is in a model or a bundle"
EPILOG = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("path", metavar="PATH")


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    return 0
