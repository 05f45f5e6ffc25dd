"""What a family of models is told by, to be converted from a Hugging Face folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlr.errors import FormatError, UnsupportedModelError
from mlr_build.gguf_writer import TensorToWrite
from mlr_build.hf_weights import Weights
from mlr_build.huggingface import SentenceSettings

__all__ = [
    "CONTROL",
    "NORMAL",
    "UNKNOWN",
    "UNUSED",
    "Config",
    "Family",
    "integer",
    "number",
    "require",
]

NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5  # `tokenizer.ggml.token_type`
_LARGEST = (1 << 31) - 1

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """How the models of one `model_type` are written in GGUF.

    `metadata` gives the keys after "{architecture}.", `tokenizer` those about tokens, from the
    folder. `own`, if there is one, takes out of the tensors those that are not written number by
    number, and gives what becomes of them. `names` are patterns of the others' names with what
    each becomes; those that match `ignored` are left out. Only matrices are quantized, and not
    those whose new names match `kept`.
    """

    architecture: str
    metadata: Callable[[Config, SentenceSettings | None], dict[str, Any]]
    tokenizer: Callable[[Path, Config], dict[str, Any]]
    names: tuple[tuple[str, str], ...]
    ignored: str
    kept: str
    own: Callable[[Weights, Config], list[TensorToWrite]] | None = None


def integer(config: Config, name: str, default: int | None = None) -> int:
    """A number above 0 that GGUF has room for; raises `FormatError`."""
    value = config.get(name, default)
    if type(value) is not int or not 1 <= value <= _LARGEST:
        raise FormatError("config.json", name, 0, f"must be a positive integer, is {value!r:.60}")
    return value


def number(config: Config, name: str, default: float) -> float:
    """A number above 0, not beyond what a float32 holds; raises `FormatError`."""
    value = config.get(name, default)
    if type(value) not in (int, float) or not (0 < value < 1e38 and math.isfinite(value)):
        raise FormatError("config.json", name, 0, f"must be a positive number, is {value!r:.60}")
    return float(value)


def require(config: Config, name: str, value: object, where: str = "config.json") -> None:
    """Raise `UnsupportedModelError` unless `name` is `value` or missing."""
    if config.get(name, value) != value:
        raise UnsupportedModelError(
            f"{where}: {name} is {config[name]!r:.60}; only {value!r} is supported"
        )
