"""Tokenizers from the bytes of a bundle's tokenizer file."""

from __future__ import annotations

import json
from typing import Any

from mlr.errors import TokenizerError
from mlr.tokenizer.tokenizer import Tokenizer

__all__ = ["MAX_FILE_SIZE", "load_tokenizer"]

FORMATS = ("packed", "gguf", "huggingface")

MAX_FILE_SIZE = 256 << 20
"""Bytes; the largest published tokenizer.json has about 35 MB."""


def load_tokenizer(format: str, data: bytes) -> Tokenizer:
    """The tokenizer in `data`, the bytes of a file.

    `format` says what they are: "packed" tables of a GGUF file's `tokenizer.ggml.*` metadata,
    "gguf" a JSON object of it (in bundles made before there were such tables), "huggingface" a
    tokenizer.json. TokenizerError for anything else.
    """
    if format not in FORMATS:
        raise TokenizerError(
            f"tokenizer format {format!r} is not supported; supported: {', '.join(FORMATS)}"
        )
    if len(data) > MAX_FILE_SIZE:
        raise TokenizerError(
            f"the tokenizer file has {len(data)} bytes, more than the limit {MAX_FILE_SIZE}"
        )
    if format == "packed":
        from mlr.tokenizer.gguf import from_gguf
        from mlr.tokenizer.packed import read_packed

        return from_gguf(read_packed(data))
    content = _parse(data)
    if format == "gguf":
        from mlr.tokenizer.gguf import from_gguf

        return from_gguf(content)
    from mlr.tokenizer.huggingface import from_huggingface

    return from_huggingface(content)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"the tokenizer file is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise TokenizerError(
            f"the tokenizer file must hold an object, not a {type(content).__name__}"
        )
    return content
