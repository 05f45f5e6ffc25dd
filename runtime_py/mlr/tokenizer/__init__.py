"""Tokenizers in pure Python: the same ids as Hugging Face `tokenizers` and llama.cpp.

The modules are named by the stages of the pipeline: `normalizers`, `pre_tokenizers`, `models`,
`post_processors`, `decoders`. `gguf` and `huggingface` read the two kinds of files, `stream`
decodes token by token, `chat` renders chat templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.tokenizer.loading import load_tokenizer
from mlr.tokenizer.stream import DecodeStream
from mlr.tokenizer.tokenizer import Tokenizer

__all__ = ["DecodeStream", "Tokenizer", "from_gguf", "from_huggingface", "load_tokenizer"]


def from_gguf(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a GGUF file's metadata describes (see `mlr.tokenizer.gguf`)."""
    from mlr.tokenizer.gguf import from_gguf as read

    return read(metadata)


def from_huggingface(
    tokenizer_json: Mapping[str, Any], tokenizer_config: Mapping[str, Any] | None = None
) -> Tokenizer:
    """The tokenizer that a tokenizer.json describes (see `mlr.tokenizer.huggingface`)."""
    from mlr.tokenizer.huggingface import from_huggingface as read

    return read(tokenizer_json, tokenizer_config)
