"""`mlr-build worker`: make an edge worker project that runs a bundle."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from mlr_build.edge_limits import MAX_SCRIPT_FREE, MAX_SCRIPT_PAID, MEMORY_LIMIT
from mlr_build.progress import human_bytes, open_progress
from mlr_build.staging import check_output
from mlr_build.worker import WORKER, WorkerResult, make_worker

__all__ = ["configure", "execute"]

HELP = "make an edge worker project that runs a bundle"
EPILOG = """\
The project is a Cloudflare Worker that answers /v1/embeddings, or /v1/completions and
/v1/chat/completions, as OpenAI's interface does. What does not fit into a worker's memory is
refused, with by how much.

examples:
  mlr-build worker bundles/all-minilm-l6-v2 --out worker
  mlr-build worker bundles/mine --out worker --context-length 512 --weights r2
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a bundle's folder")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where the project goes"
    )
    parser.add_argument(
        "--weights",
        choices=("assets", "r2"),
        default="assets",
        help="where the shards are kept: with the worker (default), or in a bucket of R2",
    )
    parser.add_argument(
        "--context-length",
        metavar="N",
        type=int,
        help="tokens of a prompt and its answer (default: the model's, at most 4096)",
    )
    parser.add_argument("--force", action="store_true", help="replace the project that is at DIR")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    check_output(args.out, args.force, WORKER)
    result = make_worker(
        args.bundle,
        args.out,
        open_progress(),
        weights=args.weights,
        context_length=args.context_length,
        force=args.force,
    )
    if args.json:
        print(json.dumps(_report(result), ensure_ascii=False))
    else:
        _print(result)
    return 0


def _report(result: WorkerResult) -> dict[str, object]:
    report = asdict(result)
    memory = report.pop("memory")
    return report | {
        "path": str(result.path),
        "fits_free_plan": result.script_compressed <= MAX_SCRIPT_FREE,
        "memory": memory | {"total": result.memory.total, "limit": MEMORY_LIMIT},
    }


def _print(result: WorkerResult) -> None:
    memory, limits = result.memory, (MAX_SCRIPT_FREE, MAX_SCRIPT_PAID)
    free, paid = map(human_bytes, limits)
    print(
        f"{result.path}: {result.model}, weights in {result.weights}\n"
        f"  script    {human_bytes(result.script)}, {human_bytes(result.script_compressed)} "
        f"compressed (limits: {free} free, {paid} paid); nothing runs before the first request\n"
        f"  assets    {result.assets}, the largest has {human_bytes(result.largest_asset)}\n"
        f"  memory    {human_bytes(memory.total)} of {human_bytes(MEMORY_LIMIT)} predicted for "
        f"{memory.context_length} tokens: kernel {human_bytes(memory.kernel)} (exact), tokenizer "
        f"{human_bytes(memory.tokenizer)}, JavaScript {human_bytes(memory.script)}\n"
        f"  next      {result.path / 'README.md'} says how to deploy it"
    )
