"""The kernel's binary interface in Python: its version and its errors.

`runtime_py/kernel/kernel.h` is the other side.
"""

from __future__ import annotations

from mlr.errors import (
    CapacityError,
    ContextLengthError,
    EngineError,
    GenerationError,
    LoadError,
    MlrError,
    RequestError,
)
from mlr.formats.ggml_types import KERNEL_TYPES, TYPES

__all__ = [
    "ABI_VERSION",
    "DESCRIPTOR_VERSION",
    "ERRORS",
    "MAX_MEMORY",
    "MAX_MEMORY_64",
    "PAGE",
    "TYPE_IDS",
    "error_for",
]

ABI_VERSION = 3
DESCRIPTOR_VERSION = 2
PAGE = 65536  # bytes of a page of WebAssembly memory
MAX_MEMORY = 65535 * PAGE  # of the builds that address 32 bits
MAX_MEMORY_64 = 262144 * PAGE  # of the one that addresses 64, as hatch_build.py links it

# Ids of the GGUF format.
TYPE_IDS = {name: TYPES[name].id for name in KERNEL_TYPES}

ERRORS: dict[int, tuple[type[MlrError], str]] = {
    -1: (LoadError, "the model's hyperparameters are out of the kernel's range"),
    -2: (LoadError, "a tensor has a shape, type or place that the kernel cannot compute with"),
    -3: (LoadError, "a tensor that the architecture needs is missing"),
    -4: (LoadError, "weights arrived out of order"),
    -5: (LoadError, "not all weights arrived"),
    -6: (CapacityError, "the kernel's memory is smaller than the model's layout"),
    -7: (EngineError, "the kernel was called in a state that does not allow it"),
    -8: (RequestError, "a token id is outside the vocabulary"),
    -9: (ContextLengthError, "the tokens do not fit into the context window"),
    -10: (RequestError, "an argument is out of the kernel's range"),
    -11: (EngineError, "a kernel thread failed; load the model again"),
    -12: (EngineError, "the model produced numbers that are not finite; its weights are damaged"),
    -13: (
        RequestError,
        "this is not a saved sequence of this model with this kv_type, or it is longer than the "
        "context",
    ),
    -14: (GenerationError, "the mask allows no token"),
}


def error_for(code: int, asked: str) -> MlrError:
    """The exception for a negative return value of `asked`, such as `mlr_eval(64)`."""
    kind, sentence = ERRORS.get(code, (EngineError, f"unknown kernel error {code}"))
    return kind(f"{asked}: {sentence}")
