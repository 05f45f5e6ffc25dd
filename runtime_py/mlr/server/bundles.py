"""`/bundles.json` and `/bundles/NAME/…`: the bundles themselves, for browsers and other hosts."""

from __future__ import annotations

import stat
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from mlr.bundle.manifest import MANIFEST_NAME, Manifest
from mlr.server.media_types import media_type
from mlr.server.registry import Registry

__all__ = ["BundleFiles", "bundle_routes"]

FOREVER = "public, max-age=31536000, immutable"  # a shard's name is its content's hash
CHECK_EACH_TIME = "no-cache"


class BundleFiles:
    """The files of one bundle that may be read: those its manifest names, and the manifest."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder.resolve()
        small = [manifest.tokenizer, *manifest.files]
        if manifest.chat_template is not None:
            small.append(manifest.chat_template)
        shards = [shard for variant in manifest.variants for shard in variant.shards]
        self._shards = {shard.file: shard.sha256 for shard in shards}
        self._hashes = {entry.file: entry.sha256 for entry in small} | self._shards

    def respond(self, path: str, request: Request) -> Response:
        """The file at `path`, whole, in part (Range) or not at all (If-None-Match)."""
        if path != MANIFEST_NAME and path not in self._hashes:
            raise HTTPException(404, "the bundle has no such file")
        # Resolving follows links: one that leads out of the folder is not served.
        full = (self._folder / path).resolve()
        if not full.is_relative_to(self._folder):
            raise HTTPException(404, "the bundle has no such file")
        try:
            status = full.stat()
        except OSError:
            raise HTTPException(404, "the file is missing from the bundle's folder") from None
        if not stat.S_ISREG(status.st_mode):
            raise HTTPException(404, "the bundle has no such file")
        headers = {"cache-control": FOREVER if path in self._shards else CHECK_EACH_TIME}
        if path in self._hashes:
            headers["etag"] = f'"{self._hashes[path]}"'
        kind = "application/octet-stream" if path in self._shards else media_type(path)
        response = FileResponse(full, headers=headers, media_type=kind, stat_result=status)
        if _has(request, response.headers["etag"]):
            return Response(
                status_code=304,
                headers={name: response.headers[name] for name in ("etag", "cache-control")},
            )
        return response


def _has(request: Request, etag: str) -> bool:
    """Whether the client says that it has this version already."""
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    return "*" in known or etag in [tag.removeprefix("W/") for tag in known]


async def _list(request: Request) -> Response:
    registry: Registry = request.app.state.registry
    bundles = []
    for served in registry:
        if served.folder is None:
            continue
        manifest = served.manifest
        variant = manifest.variants[0]
        bundles.append(
            {
                "name": manifest.name,
                "url": f"/bundles/{manifest.name}/",
                "size": variant.size,
                "architecture": manifest.architecture,
                "quantization": variant.quantization,
                "license": {
                    "id": manifest.license.id,
                    "notice": manifest.license.notice,
                    "url": manifest.license.url,
                },
            }
        )
    return JSONResponse(bundles, headers={"cache-control": "no-store"})


def bundle_routes(registry: Registry) -> list[BaseRoute]:
    """The routes; bundles that were fetched from elsewhere are not served again."""
    files = {
        served.id: BundleFiles(served.folder, served.manifest)
        for served in registry
        if served.folder is not None
    }

    def respond(request: Request) -> Response:
        """Runs in a thread, since it asks the file system."""
        bundle = files.get(request.path_params["name"])
        if bundle is None:
            raise HTTPException(404, "there is no such bundle")
        return bundle.respond(request.path_params["path"], request)

    return [Route("/bundles.json", _list), Route("/bundles/{name}/{path:path}", respond)]
