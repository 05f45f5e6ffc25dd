"""The content types of what is served.

Python's `mimetypes` reads the machine's own tables, where `.js` and `.wasm` may be anything; a
browser refuses modules and streaming compilation with the wrong type.
"""

from __future__ import annotations

from pathlib import PurePath

__all__ = ["media_type"]

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jinja": "text/plain; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".zip": "application/zip",
}


def media_type(path: str) -> str:
    """The content type of the file at `path`, by its name."""
    return TYPES.get(PurePath(path).suffix.lower(), "application/octet-stream")
