"""`/bundles.json` and `/bundles/NAME/…`: the bundles themselves, for browsers and other hosts."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from mlr.bundle.manifest import MANIFEST_NAME
from mlr.page.listing import listed
from mlr.server.media_types import media_type

if TYPE_CHECKING:
    from mlr.bundle.cache import DiskCache
    from mlr.bundle.reader import Bundle
    from mlr.server.registry import Registry

__all__ = ["BundleFiles", "bundle_routes"]

FOREVER = "public, max-age=31536000, immutable"  # a shard's name is its content's hash
CHECK_EACH_TIME = "no-cache"


class BundleFiles:
    """The files of one bundle that may be read: those its manifest names, and the manifest.

    The manifest is the one that was loaded, whatever has become of the folder since. Files of a
    bundle that came from a URL are in the cache, or else where they came from.
    """

    def __init__(self, bundle: Bundle, cache: DiskCache | None) -> None:
        manifest = bundle.manifest
        self.manifest = manifest
        self._bundle = bundle
        self._cache = cache
        self._manifest_bytes = manifest.encode()
        shards = {shard.file: shard.sha256 for item in manifest.variants for shard in item.shards}
        self._shards = frozenset(shards)
        self._hashes = shards | {entry.file: entry.sha256 for entry in manifest.files}
        for entry in (manifest.tokenizer, manifest.tokenizer_json, manifest.chat_template):
            if entry is not None:
                self._hashes[entry.file] = entry.sha256

    def respond(self, path: str, request: Request) -> Response:
        """The file at `path`, whole, in part (Range) or not at all (If-None-Match).

        Asks the file system, so it blocks for a moment. Raises `HTTPException` 404.
        """
        if path == MANIFEST_NAME:
            sha256 = hashlib.sha256(self._manifest_bytes).hexdigest()
        elif path in self._hashes:
            sha256 = self._hashes[path]
        else:
            raise HTTPException(404, "the bundle has no such file")
        headers = {
            "etag": f'"{sha256}"',
            "cache-control": FOREVER if path in self._shards else CHECK_EACH_TIME,
        }
        if _has(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        kind = media_type(path)
        if path == MANIFEST_NAME:
            return Response(self._manifest_bytes, headers=headers, media_type=kind)
        place = self._place(path, sha256)
        try:
            status = place.stat()
        except OSError:
            status = None
        if status is None or not stat.S_ISREG(status.st_mode):
            if self._bundle.remote:
                return RedirectResponse(self._bundle.place(path))
            raise HTTPException(404, "this file is missing from the bundle's folder")
        return FileResponse(place, headers=headers, media_type=kind, stat_result=status)

    def _place(self, path: str, sha256: str) -> Path:
        """Where a file is on this machine, if it is there."""
        if self._bundle.remote:
            return Path() if self._cache is None else self._cache.blob(sha256)
        folder = Path(self._bundle.location).resolve()
        # Resolving follows links: one that leads out of the folder is not served.
        place = (folder / path).resolve()
        if not place.is_relative_to(folder):
            raise HTTPException(404, "the bundle has no such file")
        return place


def _has(request: Request, etag: str) -> bool:
    """Whether the client says that it has this version already."""
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    return "*" in known or etag in [tag.removeprefix("W/") for tag in known]


async def _list(request: Request) -> Response:
    registry: Registry = request.app.state.registry
    bundles = []
    for served in registry:
        if served.files is None:
            continue
        manifest = served.files.manifest
        bundles.append(listed(manifest, f"/bundles/{manifest.name}/"))
    return JSONResponse(bundles, headers={"cache-control": "no-store"})


def bundle_routes(registry: Registry) -> list[BaseRoute]:
    """The routes to the bundles of these models."""
    files = {served.id: served.files for served in registry if served.files is not None}

    def respond(request: Request) -> Response:
        """Starlette runs this in a thread, since it is not a coroutine."""
        bundle = files.get(request.path_params["name"])
        if bundle is None:
            raise HTTPException(404, "there is no such bundle")
        return bundle.respond(request.path_params["path"], request)

    return [Route("/bundles.json", _list), Route("/bundles/{name}/{path:path}", respond)]
