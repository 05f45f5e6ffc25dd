"""What the page's list of bundles, `bundles.json`, says of each."""

from __future__ import annotations

from typing import Any

from mlr.bundle.manifest import Manifest

__all__ = ["listed"]


def listed(manifest: Manifest, url: str) -> dict[str, Any]:
    """JSON-ready data on the bundle under `url`, as `web/src/page/bundles.ts` reads it."""
    variant = manifest.variants[0]
    return {
        "name": manifest.name,
        "url": url,
        "task": manifest.task,
        "size": variant.size,
        "architecture": manifest.architecture,
        "quantization": variant.quantization,
        "license": {
            "id": manifest.license.id,
            "notice": manifest.license.notice,
            "url": manifest.license.url,
        },
    }
