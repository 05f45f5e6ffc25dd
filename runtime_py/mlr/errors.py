"""Every error that mlr raises on purpose.

Each message says what was wrong, where, and what to do next. Commands turn an `MlrError`
into one line on standard error and the exit status in `exit_status`.
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "CapacityError",
    "ContextLengthError",
    "EngineError",
    "FetchError",
    "FormatError",
    "GenerationError",
    "GrammarError",
    "IntegrityError",
    "LoadError",
    "ManifestError",
    "MissingDependencyError",
    "MlrError",
    "RequestError",
    "StorageError",
    "TemplateError",
    "TokenizerError",
    "UnsupportedModelError",
]


class MlrError(Exception):
    """The base of every error that mlr raises on purpose."""

    exit_status = 1


class RequestError(MlrError, ValueError):
    """A caller passed an argument that is out of range or does not fit the model."""

    exit_status = 2


class ContextLengthError(RequestError):
    """The prompt is longer than the context window."""


class GrammarError(RequestError):
    """A JSON schema or a grammar is wrong, too large, or asks for what is not supported."""


class MissingDependencyError(MlrError, ImportError):
    """An optional dependency is not installed; the message says which extra brings it."""

    def __init__(self, module: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {module!r}, which is not installed: "
            f"pip install 'mlr[{extra}]'"
        )
        self.module = module
        self.extra = extra


class LoadError(MlrError):
    """A model could not be loaded."""


class FormatError(LoadError):
    """A model file breaks its format. Carries the file, the field and the byte offset."""

    exit_status = 3

    def __init__(self, file: str, field: str, offset: int, problem: str) -> None:
        super().__init__(f"{file}: {field} at byte {offset}: {problem}")
        self.file = file
        self.field = field
        self.offset = offset
        self.problem = problem


class UnsupportedModelError(LoadError):
    """The architecture, quantization type or feature is known not to be supported."""

    exit_status = 4


class TokenizerError(LoadError):
    """A tokenizer's files are inconsistent or use something that is not supported."""

    exit_status = 3


class TemplateError(MlrError):
    """A chat template failed, went over its limits, or left its sandbox."""


class BundleError(LoadError):
    """A bundle is incomplete or inconsistent."""

    exit_status = 3


class ManifestError(BundleError):
    """A manifest breaks the schema, or names a newer schema or an unsafe path."""


class IntegrityError(BundleError):
    """Bytes do not have the size or the SHA-256 that the manifest gives them."""


class FetchError(LoadError):
    """A file could not be fetched, after the retries."""

    exit_status = 5


class StorageError(LoadError):
    """The disk or the browser's storage is full or cannot be written."""

    exit_status = 6


class CapacityError(LoadError):
    """The model does not fit into memory; the message has the numbers and what would fit."""

    exit_status = 6


class EngineError(MlrError):
    """An engine stopped working (a trap, a lost worker); the model can be loaded again."""

    exit_status = 7


class GenerationError(MlrError):
    """Generation stopped for a reason that is not the caller's."""
