"""A local server of files for a benchmark's page: ranges, and cross-origin isolation."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["Answers", "serve_files"]

Answers = dict[str, Callable[[bytes], bytes]]  # by path: what is answered to what is posted

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
PIECE = 1 << 20


@contextmanager
def serve_files(mounts: Mapping[str, Path], answers: Answers | None = None) -> Iterator[str]:
    """Serve files and folders under the paths they are mounted at; yields the server's URL.

    The first mount that fits a path is taken, so the root, "", comes last. `answers` may change.
    """

    class Handler(_Handler):
        """The handler of these mounts."""

    Handler.mounts = dict(mounts)
    Handler.answers = {} if answers is None else answers
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    mounts: dict[str, Path]
    answers: Answers
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self._find()
        if path is None:
            self.send_error(404)
            return
        size = path.stat().st_size
        start, end = self._range(size)
        self.send_response(206 if (start, end) != (0, size) else 200)
        self.send_header("Content-Type", TYPES.get(path.suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        if (start, end) != (0, size):
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "cross-origin")
        self.end_headers()
        if self.command == "HEAD":
            return
        with path.open("rb") as file:
            file.seek(start)
            while start < end:
                data = file.read(min(PIECE, end - start))
                self.wfile.write(data)
                start += len(data)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.answers[self.path](self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _find(self) -> Path | None:
        path = self.path.partition("?")[0]
        for mount, target in self.mounts.items():
            if path == mount and target.is_file():
                return target
            if path.startswith(mount + "/") and ".." not in path:
                file = target / path[len(mount) + 1 :]
                return file if file.is_file() else None
        return None

    def _range(self, size: int) -> tuple[int, int]:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not match:
            return 0, size
        return int(match[1]), min(int(match[2] or size - 1) + 1, size)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""
