"""Tokenizers from Hugging Face's tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.errors import TokenizerError
from mlr.tokenizer.tokenizer import Tokenizer

__all__ = ["from_huggingface"]


def from_huggingface(
    tokenizer_json: Mapping[str, Any], tokenizer_config: Mapping[str, Any] | None = None
) -> Tokenizer:
    raise TokenizerError("tokenizer.json is not read yet")
