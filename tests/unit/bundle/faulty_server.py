"""A real HTTP server of a folder that can cut, stall, flip bits, ignore ranges and refuse."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Fault", "FaultyServer", "Reply", "serve"]


@dataclass
class Reply:
    """How one request is answered; a fault changes it."""

    path: str  # in the folder, without a leading slash
    start: int  # first byte asked for
    body: bytes  # the whole file
    status: int = 200
    ranges: bool = True  # honour Range
    cut_after: int | None = None  # send this many bytes of the answer, then drop the connection
    stall_after: int | None = None  # send this many bytes of the answer, then fall silent
    headers: dict[str, str] = field(default_factory=dict)
    location: str | None = None  # redirect there
    with_length: bool = True


Fault = Callable[[Reply], None]


class FaultyServer:
    """Serves `folder`. `faults` are applied to each reply in turn; `requests` are remembered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, int]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.most_at_once = 0
        self.now = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.handle(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def once(self, pattern: str, fault: Fault, times: int = 1) -> None:
        """Apply a fault to the first requests whose path matches."""
        left = times

        def apply(reply: Reply) -> None:
            nonlocal left
            with self.lock:
                if left and re.search(pattern, reply.path):
                    left -= 1
                    fault(reply)

        self.faults.append(apply)

    def always(self, pattern: str, fault: Fault) -> None:
        self.once(pattern, fault, times=1_000_000)

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has gone
            self._answer(request)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path).lstrip("/")
        match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        with self.lock:
            self.requests.append((path, start))
            self.headers.append(dict(request.headers.items()))
        file = self.folder / path
        reply = Reply(path, start, file.read_bytes() if file.is_file() else b"")
        if not file.is_file():
            reply.status = 404
        with self.lock:
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
        for fault in self.faults:
            fault(reply)
        with self.lock:  # before the answer: the client may ask for the next at its last byte
            self.now -= 1
        if reply.location is not None:
            request.send_response(302)
            request.send_header("Location", reply.location)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if reply.status != 200:
            request.send_error(reply.status)
            return
        body = reply.body
        if match and reply.ranges:
            if start >= len(body):
                request.send_error(416)
                return
            request.send_response(206)
            reply.headers.setdefault("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        else:
            request.send_response(200)
        if reply.with_length:
            request.send_header("Content-Length", str(len(body)))
        for name, value in reply.headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.close_connection = True
        ends = [n for n in (reply.cut_after, reply.stall_after) if n is not None]
        request.wfile.write(body[: min(ends, default=len(body))])
        request.wfile.flush()
        if reply.stall_after is not None:
            self.closing.wait(10)


@contextmanager
def serve(folder: Path) -> Iterator[FaultyServer]:
    """A server of `folder` on a free port."""
    server = FaultyServer(folder)
    try:
        yield server
    finally:
        server.close()
