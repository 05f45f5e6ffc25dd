"""How many tokens a model is loaded for."""

from __future__ import annotations

from mlr.errors import RequestError
from mlr.formats.model_config import ModelConfig

__all__ = ["choose_context"]

DEFAULT_CONTEXT = 4096  # tokens, where the model allows as many and the caller does not say


def choose_context(config: ModelConfig, wanted: int | None) -> int:
    """The context length to load with, in tokens: `wanted`, or the model's but at most 4096.

    Raises `RequestError` for one that is longer than the model's, or less than 1.
    """
    if wanted is None:
        return min(config.context_length, DEFAULT_CONTEXT)
    if not isinstance(wanted, int) or not 1 <= wanted <= config.context_length:
        raise RequestError(
            f"context_length must be between 1 and the model's {config.context_length}, "
            f"got {wanted!r:.40}"
        )
    return wanted
