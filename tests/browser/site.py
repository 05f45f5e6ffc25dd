"""A server of the built page and of bundles that can go wrong on purpose."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

from mlr.server.media_types import media_type

__all__ = ["Seen", "Site", "serve_site"]

ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}


CUT_SECONDS = 1.5  # a browser that hears of the cut at once may drop what came before it


@dataclass(frozen=True)
class Seen:
    """A request: its path, and its Range header or an empty text."""

    path: str
    range: str


@dataclass
class Site:
    """What is served under which path, and what is to go wrong. Tests change it as they go."""

    url: str = ""
    folders: dict[str, Path] = field(default_factory=dict)  # by path, such as "/page/"
    texts: dict[str, bytes] = field(default_factory=dict)  # by path: these come first
    isolated: bool = True
    shared: bool = False  # pages of other origins may read what is here
    cuts: dict[str, list[int]] = field(default_factory=dict)  # path: bytes sent before each cut
    flips: dict[str, list[int]] = field(default_factory=dict)  # path: a wrong byte, once each
    missing: set[str] = field(default_factory=set)
    stalls: dict[str, float] = field(default_factory=dict)  # path: seconds before any byte
    halts: dict[str, int] = field(
        default_factory=dict
    )  # path: bytes sent before nothing more comes
    seen: list[Seen] = field(default_factory=list)
    posted: Queue[bytes] = field(default_factory=Queue)  # what pages have sent here

    def asked(self, part: str) -> list[Seen]:
        """The requests so far whose path holds `part`."""
        return [request for request in self.seen if part in request.path]

    def reset(self) -> None:
        """Nothing goes wrong any more, and nothing has been asked for."""
        self.isolated = True
        for faults in (self.texts, self.cuts, self.flips, self.missing, self.stalls, self.halts):
            faults.clear()
        self.seen.clear()

    def find(self, path: str) -> bytes | None:
        """The content at a path, or None."""
        if path in self.missing:
            return None
        if path in self.texts:
            return self.texts[path]
        for mount, folder in self.folders.items():
            file = folder / (path.removeprefix(mount) or "index.html")
            if path.startswith(mount) and file.is_file():
                return file.read_bytes()
        return None


@contextmanager
def serve_site(folders: Mapping[str, Path]) -> Iterator[Site]:
    """Serve folders; the first whose path fits is taken, so the root, "/", comes last."""
    site = Site(folders=dict(folders))

    class Handler(_Handler):
        """The handler of this site."""

    Handler.site = site
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site, path = self.site, self.path.partition("?")[0]
        site.seen.append(Seen(path, self.headers.get("Range", "")))
        time.sleep(site.stalls.get(path, 0))
        content = site.find(path)
        if content is None:
            self._head(404, 0, {})
            return
        start, end = 0, len(content)
        headers = {"Content-Type": media_type("index.html" if path.endswith("/") else path)}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked:
            start, end = int(asked[1]), min(int(asked[2] or end - 1) + 1, end)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        body = bytearray(content[start:end])
        if site.flips.get(path) and start <= site.flips[path][0] < end:
            body[site.flips[path].pop(0) - start] ^= 1
        self._head(206 if asked else 200, len(body), headers)
        if path in site.halts:
            self.wfile.write(body[: max(site.halts[path] - start, 0)])
            while path in site.halts:
                time.sleep(0.05)
            self.close_connection = True
            return
        if not site.cuts.get(path):
            self.wfile.write(body)
            return
        sent = body[: site.cuts[path].pop(0)]
        self.wfile.write(sent)
        if sent:
            time.sleep(CUT_SECONDS)
        self.close_connection = True

    def do_POST(self) -> None:
        self.site.posted.put(self.rfile.read(int(self.headers["Content-Length"])))
        self._head(200, 0, {})

    def _head(self, status: int, size: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        isolation = ISOLATION if self.site.isolated else {}
        shared = {"Access-Control-Allow-Origin": "*"} if self.site.shared else {}
        sent = {**headers, **isolation, **shared, "Cache-Control": "no-cache"}
        for name, value in sent.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""
