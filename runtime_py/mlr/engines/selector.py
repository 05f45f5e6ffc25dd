"""Which engine runs a bundle here, on which of its variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlr.errors import RequestError, UnsupportedModelError

if TYPE_CHECKING:
    from mlr.bundle.manifest import Manifest, Variant

__all__ = ["ENGINES", "select"]

ENGINES = ("kernel", "reference")
AUTOMATIC = ("kernel",)  # the reference engine is an oracle, never chosen by itself


def select(manifest: Manifest, engine: str) -> tuple[str, Variant]:
    """The engine's name and the variant for it; `auto` takes the fastest there is here.

    Raises `RequestError` for a name that is not an engine's, `UnsupportedModelError` when no
    variant of the bundle suits.
    """
    if engine != "auto" and engine not in ENGINES:
        raise RequestError(f"no engine is called {engine!r}; engines: auto, {', '.join(ENGINES)}")
    for name in AUTOMATIC if engine == "auto" else (engine,):
        for variant in manifest.variants:
            # the reference engine reads the same GGUF variants as the kernel
            if "kernel" in variant.engines and variant.format == "gguf":
                return name, variant
    raise UnsupportedModelError(
        f"bundle {manifest.name!r} has no variant for engine {engine!r}; its variants: "
        + ", ".join(f"{v.id} ({', '.join(v.engines)})" for v in manifest.variants)
    )
