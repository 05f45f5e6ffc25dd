"""Get bytes from http(s) URLs with the standard library: ranges, time-outs, bounded redirects.

These calls block; in asyncio they run in threads.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from mlr.errors import FetchError

__all__ = ["Body", "HttpClient", "TransientError", "read_small"]

_RETRIED_STATUSES = frozenset((408, 429, 500, 502, 503, 504))
_MAX_REDIRECTS = 5
_READ_BYTES = 1 << 20


class TransientError(Exception):
    """Something that may go away when it is tried again."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, to http(s) only and never from https to http."""

    max_redirections = _MAX_REDIRECTS

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new == "http"):
            fp.close()
            raise FetchError(f"{req.full_url}: a redirect from {old} to {new} is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass(frozen=True, slots=True)
class Body:
    """A response's body, read from the offset that was asked for."""

    url: str
    total: int | None  # bytes of the whole file, when the server says
    headers: Mapping[str, str]
    _read: Callable[[int], bytes]

    def read_exact(self, size: int) -> bytes:
        """Exactly `size` bytes; `TransientError` when the connection is cut or stalls."""
        parts, wanted = [], size
        while wanted:
            part = self.read_some(wanted)
            if not part:
                raise TransientError("the connection was cut")
            parts.append(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_some(self, limit: int) -> bytes:
        """Up to `limit` bytes, none at the end; `TransientError` when the connection fails."""
        try:
            return self._read(limit)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TransientError(f"the connection failed: {error!r}") from error


class HttpClient:
    """Makes requests and decides what is worth trying again. Safe to use from several threads."""

    def __init__(
        self,
        *,
        timeout: float = 30.0,
        attempts: int = 4,
        delay: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`timeout` is for each wait on the network; delays double from `delay` on (seconds)."""
        self.attempts = attempts
        self._timeout = timeout
        self._delay = delay
        self._sleep = sleep
        # Only these handlers: no file:, ftp: or data: URL can be reached, not by redirect either.
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(),
        ):
            self._opener.add_handler(handler)

    def wait(self, failures: int) -> None:
        """Sleep before the try that follows the given number of failures in a row."""
        self._sleep(self._delay * 2.0 ** (failures - 1))

    @contextmanager
    def get(
        self, url: str, start: int = 0, headers: Mapping[str, str] | None = None
    ) -> Iterator[Body]:
        """Open a URL at byte `start`, whether or not the server knows ranges.

        Raises `TransientError` for what may pass and `FetchError` for what will not.
        """
        fields = {"Accept-Encoding": "identity", "User-Agent": "mlr", **(headers or {})}
        if start:
            fields["Range"] = f"bytes={start}-"
        response = self._open(urllib.request.Request(url, headers=fields))
        with response:
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise FetchError(
                    f"{url}: the server sends it with Content-Encoding {encoding!r:.40}; "
                    "serve bundles without compression"
                )
            if start and response.status == 206:
                total = _range_total(url, response.headers.get("Content-Range", ""), start)
            else:
                length = response.headers.get("Content-Length", "")
                total = int(length) if re.fullmatch(r"\d{1,15}", length) else None
            body = Body(url, total, dict(response.headers.items()), response.read)
            if start and response.status != 206:
                _skip(body, start)
            yield body

    def _open(self, request: urllib.request.Request) -> Any:
        url = request.full_url
        try:
            return self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _RETRIED_STATUSES:
                raise TransientError(f"the server answered {error.code} {error.reason}") from error
            raise FetchError(f"{url}: {_explain(error.code, str(error.reason))}") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise FetchError(
                    f"{url}: the server's certificate is not trusted: {error.reason}"
                ) from error
            raise TransientError(f"no connection: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"no connection: {error!r}") from error
        except ValueError as error:
            raise FetchError(f"{url}: is not a valid URL: {error}") from error


def _explain(status: int, reason: str) -> str:
    advice = {
        401: "it needs a login",
        403: "access is refused",
        404: "there is no such file; check the address",
        410: "the file is gone",
        304: "304",
    }.get(status)
    return f"the server answered {status} {reason}" + (f": {advice}" if advice else "")


def _range_total(url: str, text: str, start: int) -> int | None:
    match = re.fullmatch(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)", text)
    if not match or int(match[1]) != start:
        raise FetchError(f"{url}: byte {start} was asked for, the server sent {text!r:.60}")
    return None if match[2] == "*" else int(match[2])


def _skip(body: Body, count: int) -> None:
    """Read past the bytes that a server without ranges sends again."""
    while count:
        count -= len(body.read_exact(min(count, _READ_BYTES)))


def read_small(url: str, limit: int, client: HttpClient | None = None) -> bytes:
    """The whole body of a URL, at most `limit` bytes. Raises `FetchError`."""
    client = client or HttpClient()
    failures = 0
    while True:
        try:
            with client.get(url) as body:
                if body.total is not None and body.total > limit:
                    raise FetchError(f"{url}: has {body.total} bytes, the limit is {limit}")
                if body.total is not None:
                    return body.read_exact(body.total)
                return _read_unsized(body, limit)
        except TransientError as error:
            failures += 1
            if failures >= client.attempts:
                raise FetchError(
                    f"{url}: {error}, {failures} times in a row; check the network and try again"
                ) from error
            client.wait(failures)


def _read_unsized(body: Body, limit: int) -> bytes:
    parts, size = [], 0
    while part := body.read_some(_READ_BYTES):
        size += len(part)
        if size > limit:
            raise FetchError(f"{body.url}: has more than {limit} bytes, the limit")
        parts.append(part)
    return b"".join(parts)
