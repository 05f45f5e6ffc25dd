"""Models small enough to make on the spot: random weights, real GGUF, a working tokenizer.

llama.cpp loads and evaluates these files, so they can stand between it, the kernel and the
reference engine. The sizes are awkward on purpose: an odd vocabulary, rows that are no
multiple of 8, grouped queries, heads wider than their share of the embedding, and for Gemma 3
enough layers for a global one among those with a sliding window.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from mlr.formats.expected_tensors import ExpectedTensor, expected_tensors
from mlr.formats.model_config import ModelConfig
from tests.support.tiny_tokenizers import add_bpe_tokenizer, add_spm_tokenizer
from tests.support.weights import BLOCK, make_scales_positive, random_matrix

__all__ = ["QUANTIZATIONS", "SHAPES", "TinyShape", "tiny_gguf"]

QUANTIZATIONS = tuple(BLOCK)

# What a Q4_K_M file mixes: `quantization="MIXED"` gives each matrix one of these types.
MIXED = {
    "token_embd": "Q8_0",
    "output": "Q6_K",
    "attn_q": "Q5_0",
    "attn_k": "Q4_K",
    "attn_v": "Q6_K",
    "attn_output": "Q4_0",
    "ffn_gate": "Q4_K",
    "ffn_up": "Q8_0",
    "ffn_down": "Q6_K",
}

# The order in which tensors are drawn and written, within the model and within a layer. Golden
# files depend on it.
ORDER = (
    *("token_embd", "output_norm", "output", "rope_freqs", "attn_norm", "attn_q", "attn_k"),
    *("attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down", "attn_q_norm"),
    *("attn_k_norm", "post_attention_norm", "post_ffw_norm"),
)


@dataclass(frozen=True)
class TinyShape:
    """The hyperparameters of a tiny model: what `tiny_gguf` takes as overrides."""

    n_layers: int = 2
    n_embd: int = 256
    n_ff: int = 512
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 64
    n_vocab: int = 301
    context_length: int = 512
    norm_epsilon: float = 1e-5
    rope_theta: float = 10000.0
    rope_dim: int | None = None  # None: the whole head
    rope_factor: float = 1.0  # linear scaling
    rope_freqs: bool = False  # Llama 3's tensor of frequency divisors
    attention_bias: bool = False  # biases on q, k and v; always there in Qwen 2
    sliding_window: int = 0


SHAPES = {
    "gemma3": TinyShape(
        n_layers=7,
        n_kv_heads=1,
        head_dim=128,
        norm_epsilon=1e-6,
        rope_theta=1e6,
        sliding_window=16,
    ),
    "llama": TinyShape(),
    "qwen2": TinyShape(n_layers=3, n_heads=8, head_dim=32, rope_theta=1e6, attention_bias=True),
    "qwen3": TinyShape(n_heads=8, norm_epsilon=1e-6, rope_theta=1e6),
}


def tiny_gguf(
    path: str | os.PathLike[str],
    *,
    architecture: str = "llama",
    quantization: str = "Q4_0",
    seed: int = 0,
    tied: bool = True,
    tokenizer: str = "spm",
    positive_head: bool = False,
    **overrides: Any,
) -> Path:
    """Write a tiny model to `path` and return it. The same arguments give the same bytes.

    `quantization` is the type of every matrix (one of `QUANTIZATIONS`), or `"MIXED"` for a type
    per kind of matrix, as in Q4_K_M, or `"EVERY"` for all types in turn in the layers. `tied`
    leaves `output.weight` out. `tokenizer` is `"spm"` or `"bpe"`. `positive_head` makes the scales
    of the output head positive, as quantizers give them: the kernel then looks for the largest
    logit by bounds. `overrides` are fields of `TinyShape`; the feed-forward width defaults to the
    most awkward one that the type allows.
    """
    if architecture not in SHAPES:
        raise ValueError(f"no tiny model for {architecture!r}")
    block = BLOCK.get(quantization, (256, 0))[0]
    awkward = {"n_ff": {1: 300, 32: 352}.get(block, 512)}
    shape = replace(SHAPES[architecture], **(awkward | overrides))
    rng = np.random.default_rng([seed, *architecture.encode()])
    every = itertools.cycle(QUANTIZATIONS)

    path = Path(path)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"tiny {architecture} {quantization}")
    _add_hyperparameters(writer, architecture, shape)
    {"spm": add_spm_tokenizer, "bpe": add_bpe_tokenizer}[tokenizer](writer, shape.n_vocab)
    for expected in sorted(expected_tensors(_config(architecture, shape)), key=_place):
        name = expected.name
        if not expected.required and not _wanted(name, shape, tied):
            continue
        if len(expected.shape) == 1:
            writer.add_tensor(name, _vector(rng, name, expected.shape[0]))
        else:
            rows, columns = expected.shape
            kind = quantization
            if quantization == "MIXED" or (quantization == "EVERY" and not name.startswith("blk")):
                kind = MIXED[name.split(".")[-2]]
            elif quantization == "EVERY":
                kind = next(every)
            data = random_matrix(rng, kind, rows, columns, columns**-0.5)
            if positive_head and name == ("token_embd.weight" if tied else "output.weight"):
                make_scales_positive(data, kind)
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _place(tensor: ExpectedTensor) -> tuple[int, bool, int]:
    """The layer (0 for the model's own), whether it is a bias, and the place in `ORDER`."""
    *layer, name, part = tensor.name.split(".")
    place = ORDER.index(name) if name in ORDER else len(ORDER)
    return int(layer[1]) + 1 if layer else 0, part == "bias", place


def _wanted(name: str, shape: TinyShape, tied: bool) -> bool:
    """Whether an optional tensor is part of this model."""
    if name == "output.weight":
        return not tied
    if name == "rope_freqs.weight":
        return shape.rope_freqs
    return name.endswith(("_q.bias", "_k.bias", "_v.bias")) and shape.attention_bias


def _vector(rng: np.random.Generator, name: str, length: int) -> NDArray[np.float32]:
    """A norm's weights, a bias, or the divisors of the rotary frequencies; always float32."""
    if name == "rope_freqs.weight":
        # As Llama 3 has them: 1 for fast frequencies, 8 for slow ones, a ramp in between.
        return np.clip(np.linspace(-4.0, 13.0, length), 1.0, 8.0).astype(np.float32)
    values = rng.standard_normal(length).astype(np.float32)
    if name.endswith(".bias"):
        return values * np.float32(0.5)
    # Logits spread over several units, and attention that prefers some positions to others.
    scale = 4.0 if name == "output_norm.weight" else 1.5 if "_q_norm" in name else 1.0
    return (np.float32(scale) * (1 + np.float32(0.2) * values)).astype(np.float32)


def _add_hyperparameters(writer: gguf.GGUFWriter, architecture: str, shape: TinyShape) -> None:
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_theta)
    if architecture == "llama" or shape.rope_dim is not None:
        writer.add_rope_dimension_count(shape.rope_dim or shape.head_dim)
    if shape.rope_factor != 1.0:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(shape.rope_factor)
    if shape.sliding_window:
        writer.add_sliding_window(shape.sliding_window)


def _config(architecture: str, shape: TinyShape) -> ModelConfig:
    """The configuration for `expected_tensors`: only what decides the shapes matters here."""
    gemma = architecture == "gemma3"
    return ModelConfig(
        architecture=architecture,
        n_layers=shape.n_layers,
        n_embd=shape.n_embd,
        n_ff=shape.n_ff,
        n_heads=shape.n_heads,
        n_kv_heads=shape.n_kv_heads,
        head_dim=shape.head_dim,
        n_vocab=shape.n_vocab,
        context_length=shape.context_length,
        norm_epsilon=shape.norm_epsilon,
        rope_theta=shape.rope_theta,
        rope_theta_local=10000.0,
        rope_dim=shape.rope_dim or shape.head_dim,
        rope_style="half",
        rope_scale=1.0,
        sliding_window=0,
        sliding_pattern=0,
        activation="silu",
        post_norm="branch" if gemma else "none",
        qk_norm="head" if gemma or architecture == "qwen3" else "none",
        embedding_scale=1.0,
        attention_scale=1.0,
    )
