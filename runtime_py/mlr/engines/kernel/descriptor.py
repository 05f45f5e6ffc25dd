"""The binary descriptor through which the kernel learns what a model is.

Little-endian, laid out as `Header` and `Entry` in `runtime_py/kernel/open.c`. Tensors are named by
slot (an enumeration in `kernel.h`) and layer and come in file order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Protocol

from mlr.engines.kernel.abi import DESCRIPTOR_VERSION, TYPE_IDS
from mlr.errors import UnsupportedModelError
from mlr.formats.model_config import ModelConfig

__all__ = ["build_descriptor"]

MAGIC = b"MLRD"
HEADER = struct.Struct("<4sI 8I 4I 4f 2d 2I")
ENTRY = struct.Struct("<6Id")

# In the order of `Slot` in kernel.h.
SHARED_SLOTS = ("token_embd.weight", "output_norm.weight", "output.weight", "rope_freqs.weight")
LAYER_SLOTS = (
    "attn_norm.weight",
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_output.weight",
    "ffn_norm.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
    "attn_q_norm.weight",
    "attn_k_norm.weight",
    "post_attention_norm.weight",
    "post_ffw_norm.weight",
    "attn_q.bias",
    "attn_k.bias",
    "attn_v.bias",
)

# Fields without a place in the descriptor: what the kernel tells from the tensors.
COMPUTED = {
    "post_norm": ("none", "branch"),
    "qk_norm": ("none", "head"),
    "rope_scaling": ("none", "linear"),
}


class TensorPlace(Protocol):
    """A tensor of a variant, as a manifest lists it."""

    @property
    def name(self) -> str:
        """GGUF name."""
        ...

    @property
    def type(self) -> str:
        """Name of the weight type, such as `Q4_K`."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns), or (length,)."""
        ...

    @property
    def offset(self) -> int:
        """Of the first byte in the variant's file."""
        ...


def _slot(name: str) -> tuple[int, int]:
    """Slot number and layer of a tensor, by its GGUF name."""
    if name in SHARED_SLOTS:
        return SHARED_SLOTS.index(name), 0
    _, layer, kind = (*name.split(".", 2), "", "")[:3]
    if name.startswith("blk.") and kind in LAYER_SLOTS and layer.isdecimal():
        return len(SHARED_SLOTS) + LAYER_SLOTS.index(kind), int(layer)
    raise UnsupportedModelError(f"tensor {name!r:.80} is not one that the kernel computes with")


def _refuse_what_is_not_computed(config: ModelConfig) -> None:
    """The kernel takes every field that the descriptor has no place for to be the default."""
    for field in fields(config):
        value = getattr(config, field.name)
        computed = COMPUTED.get(field.name, (field.default,))
        if field.default is not MISSING and value not in computed:
            raise UnsupportedModelError(
                f"the kernel does not compute {config.architecture} models with "
                f"{field.name} = {value!r}"
            )
    if config.activation not in ("silu", "gelu"):
        raise UnsupportedModelError(f"the kernel does not compute {config.activation}")


def build_descriptor(config: ModelConfig, tensors: Iterable[TensorPlace]) -> bytes:
    """The descriptor of a model.

    Raises `UnsupportedModelError` for a computation, a tensor or a weight type that the kernel
    does not know.
    """
    _refuse_what_is_not_computed(config)
    entries = []
    for tensor in sorted(tensors, key=lambda t: t.offset):
        slot, layer = _slot(tensor.name)
        if tensor.type not in TYPE_IDS:
            raise UnsupportedModelError(
                f"tensor {tensor.name}: weight type {tensor.type} is not supported by the kernel; "
                "supported: " + ", ".join(TYPE_IDS)
            )
        rows, columns = tensor.shape if len(tensor.shape) == 2 else (1, tensor.shape[0])
        type_id = TYPE_IDS[tensor.type]
        if len(tensor.shape) == 1 and type_id != 0:
            raise UnsupportedModelError(
                f"tensor {tensor.name}: a vector must be F32, not {tensor.type}"
            )
        entries.append(ENTRY.pack(slot, layer, type_id, rows, columns, 0, float(tensor.offset)))
    header = HEADER.pack(
        MAGIC,
        DESCRIPTOR_VERSION,
        config.n_layers,
        config.n_embd,
        config.n_ff,
        config.n_heads,
        config.n_kv_heads,
        config.head_dim,
        config.n_vocab,
        config.rope_dim,
        config.rope_style == "half",
        config.sliding_window,
        config.sliding_pattern,
        config.activation == "gelu",
        config.norm_epsilon,
        config.embedding_scale,
        config.attention_scale,
        config.rope_scale,
        config.rope_theta,
        config.rope_theta_local,
        len(entries),
        0,
    )
    return header + b"".join(entries)
