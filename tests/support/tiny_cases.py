"""The tiny models that engines are compared on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.tiny_models import QUANTIZATIONS, SHAPES, tiny_gguf

__all__ = ["FLOAT_CASES", "POSITIONS", "TOKENS", "TYPE_CASES", "TinyCase", "digest"]

# 60 tokens: past the sliding window of 16 and the kernel's passes of 64 with a second call.
TOKENS = [int(token) for token in np.random.default_rng(7).integers(3, 300, 60)]

# Where in TOKENS the golden files keep llama.cpp's logits.
POSITIONS = {"types": [30, 59], "floats": [0, 15, 16, 30, 59]}


@dataclass(frozen=True)
class TinyCase:
    """Arguments of `tiny_gguf` under a name."""

    name: str
    arguments: dict[str, Any] = field(hash=False)

    def build(self, folder: Path) -> Path:
        """The model's file, made when it is not in `folder` yet."""
        path = folder / f"{self.name}.gguf"
        return path if path.exists() else tiny_gguf(path, **self.arguments)


def _case(architecture: str, quantization: str, name: str = "", **more: Any) -> TinyCase:
    arguments = {"architecture": architecture, "quantization": quantization} | more
    return TinyCase("-".join(filter(None, [architecture, quantization, name])), arguments)


# Every architecture with the commonest types, one with the others; a mixture as in Q4_K_M, with a
# head of its own.
COMMON = ("F32", "F16", "BF16", "Q4_0", "Q5_0", "Q8_0", "Q4_K", "Q6_K")
TYPE_CASES = [
    *(_case(a, q) for a in SHAPES for q in COMMON),
    *(_case("llama", q) for q in QUANTIZATIONS if q not in COMMON),
    *(_case(a, "MIXED", tied=False) for a in SHAPES),
]

# Every variation that a file can switch on, in float32: here nothing hides a small error.
FLOAT_CASES = [
    *(_case(a, "F32") for a in SHAPES),
    _case("llama", "F32", "rope-freqs", rope_freqs=True),
    _case("llama", "F32", "linear-rope", rope_factor=4.0),
    _case("llama", "F32", "biases", attention_bias=True, tied=False),
    _case("llama", "F32", "narrow-heads", n_heads=8, n_kv_heads=1, head_dim=36),
    _case("gemma3", "F32", "linear-rope", rope_factor=8.0),
    _case("gemma3", "F32", "window-5", sliding_window=5),
    _case("qwen2", "F32", "untied", tied=False),
    _case("qwen3", "F32", "linear-rope", rope_factor=2.0),
]


def digest(path: Path) -> str:
    """SHA-256 of a file: whether a golden file was made from these very weights."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
