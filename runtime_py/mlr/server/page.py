"""The playground: the static files that `web/` builds into `page/` beside this module."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from mlr.server.media_types import media_type

__all__ = ["page_routes"]

FOLDER = Path(__file__).parent / "page"

NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>The playground is not built</title>
<h1>The playground is not built</h1>
<p>The server is running, and its interface is at <code>/v1</code>. The page is missing because
this is a source checkout in which it has not been built. Build it, then start the server again:</p>
<pre>cd web
npm ci
npm run build</pre>
</html>
"""


class _PageFiles(StaticFiles):
    """Static files with our content types, asked for again at each visit.

    A visit costs one conditional request a file; what never changes (shards) is served elsewhere.
    """

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        if response.status_code != 304:
            response.headers["content-type"] = media_type(os.fspath(full_path))
        response.headers["cache-control"] = "no-cache"
        return response


async def _not_built(_: Request) -> Response:
    return HTMLResponse(NOT_BUILT, 503)


def page_routes(folder: Path = FOLDER) -> list[BaseRoute]:
    """The routes of the page; they come last, since they take every path that is left."""
    if not (folder / "index.html").is_file():
        return [Route("/", _not_built)]
    return [Mount("/", _PageFiles(directory=folder, html=True))]
