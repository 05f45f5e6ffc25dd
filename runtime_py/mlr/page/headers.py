"""The headers that every answer has, from `mlr serve` or from the host of a static site."""

from __future__ import annotations

__all__ = ["HEADERS", "PAGE_POLICY"]

PAGE_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)
"""The content security policy of the page, as far as a page can also say it of itself."""

HEADERS = {
    # Cross-origin isolation: without it a page has no shared memory, so only one thread.
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": f"{PAGE_POLICY}; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
