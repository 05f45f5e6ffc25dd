"""Llama and the many that differ from it in a detail."""

from __future__ import annotations

from mlr.formats.architectures.architecture import Architecture

__all__ = ["LLAMA_FAMILY"]

LLAMA_FAMILY = {
    # Llama 2 and 3, Mistral, SmolLM.
    "llama": Architecture({"rope_style": "interleaved"}),
    "qwen2": Architecture(),
    "qwen3": Architecture({"qk_norm": "head"}),
}
