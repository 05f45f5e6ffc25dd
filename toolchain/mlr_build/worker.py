"""Make a Cloudflare Worker project that runs a bundle behind OpenAI's interface.

The script is built with the page, from `edge/cloudflare/worker.ts`; see there for what the
bindings mean.
"""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import mlr
from mlr.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest, Shard, Variant
from mlr.errors import CapacityError, LoadError, UnsupportedModelError
from mlr_build import edge_limits
from mlr_build.bundle_copy import copy_files, read_bundle
from mlr_build.edge_limits import WorkerMemory
from mlr_build.progress import Progress, human_bytes
from mlr_build.staging import OutputKind, staged_directory
from mlr_build.worker_readme import readme, resource_name

__all__ = ["WORKER", "Weights", "WorkerResult", "make_worker"]

Weights = Literal["assets", "r2"]

WORKER = OutputKind("Worker project", "wrangler.jsonc")
COMPATIBILITY_DATE = "2026-05-01"  # known to the last wrangler that runs on Node.js 20, 4.86
WRANGLER = "^4"
SCRIPT = Path(__file__).parent / "edge" / "worker.js"
KERNEL = Path(mlr.__file__).parent / "engines" / "kernel" / f"kernel-{edge_limits.BUILD}.wasm"


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """What was written, and how it lies within the limits. Sizes are bytes."""

    path: Path
    model: str
    weights: Weights
    script: int
    script_compressed: int
    largest_asset: int
    assets: int
    memory: WorkerMemory


def make_worker(
    folder: Path,
    out: Path,
    progress: Progress,
    *,
    weights: Weights = "assets",
    context_length: int | None = None,
    force: bool = False,
) -> WorkerResult:
    """Write a project for the bundle in `folder` at `out`: all of it, or nothing.

    Raises `BundleError`, `ManifestError` or `IntegrityError` for a bundle that is not right,
    `UnsupportedModelError` for one that cannot run there, `CapacityError` for one that does not fit
    with by how much, `RequestError` for an `out` that is in the way or a context that the model
    does not have, `LoadError` where the script has not been built, `StorageError` when the disk is
    full.
    """
    if not SCRIPT.is_file():
        raise LoadError(f"{SCRIPT} is missing: in a source tree build it with `make page`")
    manifest = read_bundle(folder)
    variant = _variant(manifest)
    manifest = replace(manifest, variants=(variant,))
    memory = edge_limits.predict_memory(manifest, variant, context_length)
    edge_limits.check_memory(manifest, variant, memory)
    small = _small_files(manifest)
    compressed = sum(len(gzip.compress(path.read_bytes(), mtime=0)) for path in (SCRIPT, KERNEL))
    if compressed > edge_limits.MAX_SCRIPT_PAID:
        raise CapacityError(
            f"the script has {human_bytes(compressed)} compressed, and "
            f"{human_bytes(edge_limits.MAX_SCRIPT_PAID)} are allowed"
        )
    assets: list[FileEntry | Shard] = [*small]
    if weights == "assets":
        assets += variant.shards
    sizes = {entry.file: entry.size for entry in assets}
    sizes[MANIFEST_NAME] = len(manifest.encode())
    edge_limits.check_assets(sizes)

    total = sum(entry.size for entry in small) + sum(shard.size for shard in variant.shards)
    with staged_directory(out, force, total + (1 << 20), WORKER) as staging:
        with progress.step(f"Copying {manifest.name}", total) as advance:
            copy_files(folder, assets, staging / "public", advance)
            if weights == "r2":
                copy_files(folder, variant.shards, staging / "bucket", advance)
        (staging / "public" / MANIFEST_NAME).write_bytes(manifest.encode())
        (staging / "src").mkdir()
        for path in (SCRIPT, KERNEL):
            shutil.copyfile(path, staging / "src" / path.name)
        (staging / WORKER.mark).write_text(_wrangler(manifest, weights, memory), encoding="utf-8")
        (staging / "package.json").write_text(_package(manifest), encoding="utf-8")
        text = readme(manifest, weights, memory, compressed)
        (staging / "README.md").write_text(text, encoding="utf-8")
        (staging / ".gitignore").write_bytes(b"node_modules/\n.wrangler/\n.dev.vars\n")
    return WorkerResult(
        path=out,
        model=manifest.name,
        weights=weights,
        script=SCRIPT.stat().st_size + KERNEL.stat().st_size,
        script_compressed=compressed,
        largest_asset=max(sizes.values()),
        assets=len(sizes),
        memory=memory,
    )


def _variant(manifest: Manifest) -> Variant:
    if manifest.task == "rank":
        raise UnsupportedModelError(
            f"{manifest.name} ranks pairs of texts, which edge workers do not do: serve it with "
            "mlr serve"
        )
    for variant in manifest.variants:
        if "kernel" in variant.engines:
            return variant
    raise UnsupportedModelError(
        f"{manifest.name} has no weights for the kernel, the only engine of edge workers"
    )


def _small_files(manifest: Manifest) -> list[FileEntry]:
    """What a worker reads besides weights, and what has to be passed on with them."""
    tokenizer = edge_limits.tokenizer_files(manifest)
    if not tokenizer:
        raise UnsupportedModelError(
            f"{manifest.name} has a tokenizer that JavaScript does not read, as edge workers have "
            "to: package the model anew with this mlr-build, which says why if it cannot be read"
        )
    template = [] if manifest.chat_template is None else [manifest.chat_template]
    return [*tokenizer, *template, *manifest.files]


def _wrangler(manifest: Manifest, weights: Weights, memory: WorkerMemory) -> str:
    name = resource_name(manifest)
    bucket = ""
    if weights == "r2":
        binding = {"binding": "WEIGHTS", "bucket_name": name}
        bucket = f'\n  "r2_buckets": [{json.dumps(binding)}],'
    variables = {"MODEL": manifest.name, "CONTEXT_LENGTH": memory.context_length}
    return f"""\
{{
  "name": "{name}",
  "main": "src/worker.js",
  "compatibility_date": "{COMPATIBILITY_DATE}",
  "compatibility_flags": ["enable_request_signal"],
  "rules": [{{ "type": "CompiledWasm", "globs": ["**/*.wasm"], "fallthrough": false }}],
  // the worker answers every request: the files of the model are not public
  "assets": {{ "directory": "public", "binding": "ASSETS", "run_worker_first": true }},{bucket}
  // on a paid plan, for prompts and answers of more than a few tokens:
  // "limits": {{ "cpu_ms": 300000 }},
  // "CORS_ORIGIN": "https://example.org" or "*" lets pages of another origin ask
  "vars": {json.dumps(variables)}
}}
"""


def _package(manifest: Manifest) -> str:
    package = {
        "name": resource_name(manifest),
        "private": True,
        "type": "module",
        "scripts": {"dev": "wrangler dev", "deploy": "wrangler deploy"},
        "devDependencies": {"wrangler": WRANGLER},
    }
    return json.dumps(package, indent=2) + "\n"
