"""The architectures that are known: how to read their hyperparameters, one entry each.

README.md beside this file says how to add one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlr.errors import UnsupportedModelError
from mlr.formats.architectures.architecture import Architecture, Fields
from mlr.formats.architectures.encoders import ENCODERS
from mlr.formats.architectures.gemma import GEMMA_FAMILY
from mlr.formats.architectures.gpt import GPT_FAMILY
from mlr.formats.architectures.header import Header
from mlr.formats.architectures.llama import LLAMA_FAMILY
from mlr.formats.architectures.reading import read_fields

__all__ = ["ARCHITECTURES", "SUPPORTED_ARCHITECTURES", "config_fields"]

ARCHITECTURES: dict[str, Architecture] = {
    **LLAMA_FAMILY,
    **GEMMA_FAMILY,
    **GPT_FAMILY,
    **ENCODERS,
}

SUPPORTED_ARCHITECTURES = tuple(sorted(ARCHITECTURES))


def config_fields(
    metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], file: str
) -> Fields:
    """The fields of `ModelConfig`, from GGUF metadata and the shapes (rows first) of the tensors.

    Raises `UnsupportedModelError` for an architecture that is not known.
    """
    header = Header(metadata, shapes, file)
    architecture = ARCHITECTURES.get(header.architecture)
    if architecture is None:
        raise UnsupportedModelError(
            f"{file}: architecture {header.architecture!r:.60} is not supported; supported: "
            + ", ".join(SUPPORTED_ARCHITECTURES)
        )
    return read_fields(header, architecture)
