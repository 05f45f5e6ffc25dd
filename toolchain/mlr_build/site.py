"""Make a static site of the playground and bundles, for any file host.

The site is the page that `mlr serve` serves, the bundles, and a service worker that keeps the
page's files and adds the headers of cross-origin isolation where the host cannot send them.
"""

from __future__ import annotations

import hashlib
import html
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlr
from mlr.bundle.manifest import Manifest
from mlr.errors import LoadError, RequestError
from mlr.page.headers import HEADERS, PAGE_POLICY
from mlr.page.listing import listed
from mlr_build.bundle_copy import bundle_size, copy_bundle, read_bundle
from mlr_build.progress import Progress
from mlr_build.staging import OutputKind, staged_directory

__all__ = ["SITE", "SiteResult", "make_site"]

SITE = OutputKind("site", "service-worker.js")
_PAGE = Path(mlr.__file__).parent / "server" / "page"
_NOT_OF_THE_PAGE = "site"  # the folder of the two scripts that only a site has
_HEAD = '<meta charset="utf-8" />'


@dataclass(frozen=True, slots=True)
class SiteResult:
    """What was written, and where."""

    path: Path
    bundles: tuple[str, ...]
    size: int  # bytes of every file together
    first_visit: int  # bytes that a first visit downloads before the weights
    largest_file: int  # bytes; file hosts have limits


def make_site(
    folders: Sequence[Path], out: Path, progress: Progress, *, force: bool = False
) -> SiteResult:
    """Write a site with the bundles in `folders` at `out`: all of it, or nothing.

    Raises `BundleError`, `ManifestError` or `IntegrityError` for a bundle that is not right,
    `RequestError` for two of one name or an `out` that is in the way, `LoadError` where the page
    has not been built, `StorageError` when the disk is full.
    """
    if not (_PAGE / "index.html").is_file():
        raise LoadError(f"{_PAGE} is missing: in a source tree build the page with `make page`")
    manifests = [read_bundle(folder) for folder in folders]
    names = [manifest.name for manifest in manifests]
    if len(set(names)) < len(names):
        raise RequestError(f"two of the bundles have the same name: {', '.join(sorted(names))}")
    weights = sum(map(bundle_size, manifests))
    page = sum(path.stat().st_size for path in _PAGE.rglob("*") if path.is_file())
    with staged_directory(out, force, weights + page + (1 << 20), SITE) as staging:
        with progress.step(f"Copying {', '.join(names)}", weights) as advance:
            for folder, manifest in zip(folders, manifests, strict=True):
                copy_bundle(folder, manifest, staging / "bundles" / manifest.name, advance)
        _write_page(staging, manifests)
        kept = _write_worker(staging, manifests)
        sizes = [path.stat().st_size for path in staging.rglob("*") if path.is_file()]
        first_visit = sum((staging / file).stat().st_size for file in kept)
    return SiteResult(out, tuple(names), sum(sizes), first_visit, max(sizes))


def _write_page(staging: Path, manifests: Sequence[Manifest]) -> None:
    skipped = shutil.ignore_patterns(_NOT_OF_THE_PAGE)
    shutil.copytree(_PAGE, staging, ignore=skipped, dirs_exist_ok=True)
    shutil.copyfile(_PAGE / _NOT_OF_THE_PAGE / "site.js", staging / "site.js")
    index = (_PAGE / "index.html").read_text(encoding="utf-8")
    assert _HEAD in index
    policy = html.escape(PAGE_POLICY, quote=True).replace("&#x27;", "'")
    added = (
        f'{_HEAD}\n    <meta http-equiv="Content-Security-Policy" content="{policy}" />\n'
        '    <script src="site.js"></script>'
    )
    (staging / "index.html").write_text(index.replace(_HEAD, added, 1), encoding="utf-8")
    bundles = [listed(manifest, f"bundles/{manifest.name}/") for manifest in manifests]
    (staging / "bundles.json").write_text(json.dumps(bundles, ensure_ascii=False), encoding="utf-8")
    # Netlify and Cloudflare Pages send the headers in `_headers`; GitHub Pages passes files
    # through Jekyll unless told not to.
    lines = [f"  {name}: {value}" for name, value in HEADERS.items()]
    (staging / "_headers").write_text("\n".join(["/*", *lines, ""]), encoding="utf-8")
    (staging / ".nojekyll").write_bytes(b"")


def _write_worker(staging: Path, manifests: Sequence[Manifest]) -> list[str]:
    """Write the service worker, last; returns the files that it keeps: those the page reads.

    The page stores weights by itself.
    """
    not_for_pages = {"_headers", ".nojekyll", "pyodide/NOTICE.txt"}
    for manifest in manifests:
        folder = f"bundles/{manifest.name}"
        for variant in manifest.variants:
            not_for_pages |= {f"{folder}/{shard.file}" for shard in variant.shards}
        other = manifest.tokenizer_json  # which the npm package reads
        if other is not None and other.file != manifest.tokenizer.file:
            not_for_pages.add(f"{folder}/{other.file}")
    paths = [path for path in staging.rglob("*") if path.is_file()]
    files = sorted(path.relative_to(staging).as_posix() for path in paths)
    kept = [file for file in files if file not in not_for_pages]
    script = (_PAGE / _NOT_OF_THE_PAGE / "service-worker.js").read_text(encoding="utf-8")
    version = hashlib.sha256(script.encode())
    for file in kept:
        digest = hashlib.sha256((staging / file).read_bytes()).hexdigest()
        version.update(f"{file} {digest}\n".encode())
    site = json.dumps({"version": version.hexdigest(), "files": kept})
    (staging / SITE.mark).write_text(f"const SITE = {site};\n{script}", encoding="utf-8")
    return kept
