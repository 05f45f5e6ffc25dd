"""`mlr-build inspect`: say what is in a model or a bundle, and what it needs."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from mlr import hosts
from mlr.bundle.manifest import MANIFEST_NAME, Manifest
from mlr.bundle.reader import open_bundle
from mlr_build.describe import describe_bundle, describe_source
from mlr_build.progress import human_bytes, open_progress
from mlr_build.sources import open_source

__all__ = ["configure", "execute"]

HELP = "say what is in a model or a bundle, and what it needs"
EPILOG = """\
examples:
  mlr-build inspect model.gguf
  mlr-build inspect https://example.org/model.gguf     (reads only the header)
  mlr-build inspect bundles/model --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a bundle (its folder, or the URL of its manifest.json), or a source as for package",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def execute(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    if _is_bundle(args.path):
        report = describe_bundle(asyncio.run(_read_manifest(args.path)))
    else:
        with open_source(args.path, open_progress()) as opened:
            report = describe_source(opened)
    report = {"path": args.path, **report}
    if args.json:
        print(json.dumps(report, ensure_ascii=False, allow_nan=False))
    else:
        _print_tables(report)
    return 0


def _is_bundle(path: str) -> bool:
    if path.startswith(("https://", "http://")):
        return path.partition("?")[0].endswith("/" + MANIFEST_NAME)
    return Path(path).name == MANIFEST_NAME or (Path(path) / MANIFEST_NAME).is_file()


async def _read_manifest(path: str) -> Manifest:
    return (await open_bundle(path, hosts.current())).manifest


def _print_tables(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def table(title: str, *columns: str) -> Table:
        made = Table(title=Text(title, style="bold"), title_justify="left")
        for index, column in enumerate(columns):
            made.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
        return made

    console = Console()
    # printed by ourselves, since a console ends the process with 1 when nobody reads what it prints
    with console.capture() as captured:
        console.print(Text(_summary(report), style="bold"), soft_wrap=True)
        for line in _facts(report):
            console.print(Text(line), soft_wrap=True)  # one line for whoever reads it by `grep`
        needs = table("What it needs", "", "bytes", "")
        for title, count in _needs(report["requirements"]):
            needs.add_row(title, f"{count:,}", human_bytes(count))
        console.print(needs)
        columns = ("type", "tensors", "parameters", "bytes")
        types = table(f"{report['tensors']['count']} tensors", *columns)
        for kind, entry in report["tensors"]["types"].items():
            types.add_row(kind, *(f"{entry[key]:,}" for key in ("count", "parameters", "bytes")))
        console.print(types)
        if report.get("metadata"):
            metadata = Table(title=Text("Metadata", style="bold"), title_justify="left")
            metadata.add_column("key")
            metadata.add_column("value", overflow="fold")
            for key, value in report["metadata"].items():
                metadata.add_row(Text(key), Text(str(value)))
            console.print(metadata)
    print(captured.get(), end="")


def _summary(report: dict[str, Any]) -> str:
    parts = [report["architecture"], report["quantization"], f"{report['parameters']:,} parameters"]
    return f"{report['name']}: " + ", ".join(str(part) for part in parts if part)


def _facts(report: dict[str, Any]) -> list[str]:
    license_, origin = report["license"], report["origin"]
    version = f" {origin['version']}" if origin["version"] else ""
    engines = ", ".join(report["engines"]) or "none"
    lines = [
        f"Format: {report['format']}, version {report['format_version']}",
        f"Source: {origin['source']}{version}",
        f"Context: {report['context_length']} tokens; vocabulary: {report['vocabulary_size']}; "
        f"tokenizer: {report['tokenizer']}; "
        f"chat template: {'yes' if report['chat_template'] else 'no'}",
        f"Licence: {license_['id']}. {license_['notice']}",
        f"Engines that run it: {engines}",
    ]
    if report["problem"]:
        lines.append(f"It cannot be packaged: {report['problem']}")
    return lines


def _needs(requirements: dict[str, Any]) -> list[tuple[str, int]]:
    rows = [
        ("download", requirements["download_bytes"]),
        ("weights in memory", requirements["weights_bytes"]),
    ]
    for length, count in (requirements["kv_cache_bytes"] or {}).items():
        rows.append((f"KV cache, {length} tokens", count))
    return rows
