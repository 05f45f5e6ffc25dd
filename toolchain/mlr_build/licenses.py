"""What is known about a model's licence, and the files of a source that state it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlr.bundle.manifest import License

__all__ = ["LicenseText", "describe_license", "is_license_file", "license_paths"]

MAX_LICENSE_FILES = 32
MAX_LICENSE_BYTES = 4 << 20

_LICENSE_NAME = re.compile(
    r"(licen[cs]e|copying|notice|use_policy|acceptable_use|([a-z0-9]+[_-])?terms)"
    r"([._-][a-z0-9._-]*)?",
    re.IGNORECASE,
)

# Identifier: what to say, and where the text is.
_KNOWN: dict[str, tuple[str, str]] = {
    "gemma": (
        "Gemma is provided under and subject to the Gemma Terms of Use found at "
        "https://ai.google.dev/gemma/terms. Using the model means accepting them, including "
        "their Prohibited Use Policy; whoever receives the model must be given the terms.",
        "https://ai.google.dev/gemma/terms",
    ),
    "apache-2.0": (
        "The model is licensed under the Apache License, Version 2.0.",
        "https://www.apache.org/licenses/LICENSE-2.0",
    ),
    "mit": ("The model is licensed under the MIT License.", "https://opensource.org/license/mit"),
}


@dataclass(frozen=True, slots=True)
class LicenseText:
    """A file of the source that states a licence."""

    name: str
    data: bytes


def is_license_file(name: str) -> bool:
    """Whether a file's name, without its folder, is one that licence texts have."""
    return _LICENSE_NAME.fullmatch(name) is not None


def license_paths(texts: list[LicenseText]) -> dict[str, bytes]:
    """Paths in the bundle for licence texts; equal names get a number."""
    paths: dict[str, bytes] = {}
    for text in sorted(texts, key=lambda text: (text.name, text.data)):
        name = re.sub(r"[^A-Za-z0-9._-]", "_", text.name).lstrip("._-")[:80] or "LICENSE"
        path, number = f"licenses/{name}", 2
        while paths.get(path, text.data) != text.data:
            path, number = f"licenses/{number}-{name}", number + 1
        paths[path] = text.data
    return paths


def describe_license(metadata: Mapping[str, Any], files: tuple[str, ...]) -> License:
    """The licence that a model's metadata name."""

    def text(key: str) -> str | None:
        value = metadata.get(f"general.license{key}")
        return value.strip()[:2000] if isinstance(value, str) and value.strip() else None

    identifier, title, url = text(""), text(".name"), text(".link")
    notice, known_url = _KNOWN.get((identifier or "").lower(), (None, None))
    if url is None or not re.fullmatch(r"https?://\S+", url):
        url = known_url
    if notice is None:
        named = title or identifier
        if named:
            notice = f"The model's licence is given as: {named}."
            notice += f" Its text: {url}" if url else ""
        elif files:
            notice = "The model's licence is in the files of this bundle."
        else:
            notice = (
                "The source does not say under which licence the model may be used; "
                "find out before using or passing it on."
            )
    return License(id=(identifier or "unknown")[:100], notice=notice, url=url, files=files)
