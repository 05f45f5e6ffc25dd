"""The binary descriptor through which the kernel learns what a model is.

Little-endian, laid out as `Header` and `Entry` in `runtime_py/kernel/open.c`. Tensors are named by
slot (an enumeration in `kernel.h`) and layer and come in file order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import fields
from typing import Protocol

from mlr.engines.kernel.abi import DESCRIPTOR_VERSION, TYPE_IDS
from mlr.errors import UnsupportedModelError
from mlr.formats.model_config import CHOICES, ModelConfig

__all__ = ["build_descriptor"]

MAGIC = b"MLRD"
HEADER = struct.Struct("<4s3I")  # magic, version, how many fields, how many tensors
ENTRY = struct.Struct("<6Id")  # slot, layer, type, rows, columns, depth, offset

# The numbers of `ModelConfig`, each a float64: enumerations by their index in `CHOICES`, booleans
# as 0 and 1. In the order of `CONFIG_FIELDS` in config.h.
FIELDS = tuple(field.name for field in fields(ModelConfig) if field.name != "architecture")


def _norm(name: str) -> tuple[str, ...]:
    return (f"{name}.weight", f"{name}.bias")


def _linear(name: str) -> tuple[str, ...]:
    return (f"{name}.weight", f"{name}.bias", f"{name}.scale")


# In the order of `Slot` in kernel.h.
SHARED_SLOTS = (
    "token_embd.weight",
    "position_embd.weight",
    "token_types.weight",
    *_norm("token_embd_norm"),
    *_norm("output_norm"),
    "output.weight",
    "output.bias",
    "cls.weight",
    "cls.bias",
    "cls.output.weight",
    "cls.output.bias",
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
)
LAYER_SLOTS = (
    *_norm("attn_norm"),
    *_norm("attn_norm_2"),
    *_linear("attn_qkv"),
    *_linear("attn_q"),
    *_linear("attn_k"),
    *_linear("attn_v"),
    *_norm("attn_q_norm"),
    *_norm("attn_k_norm"),
    *_norm("attn_sub_norm"),
    *_linear("attn_output"),
    *_norm("post_attention_norm"),
    *_norm("attn_output_norm"),
    *_norm("ffn_norm"),
    *_linear("ffn_gate"),
    *_linear("ffn_up"),
    *_norm("ffn_sub_norm"),
    *_linear("ffn_down"),
    "ffn_gate_inp.weight",
    "ffn_gate_exps.weight",
    "ffn_up_exps.weight",
    "ffn_down_exps.weight",
    "ffn_gate_inp_shexp.weight",
    "ffn_gate_shexp.weight",
    "ffn_up_shexp.weight",
    "ffn_down_shexp.weight",
    *_norm("post_ffw_norm"),
    *_norm("layer_output_norm"),
)


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
        """(rows, columns), (experts, rows, columns), or (length,)."""
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


def build_descriptor(config: ModelConfig, tensors: Iterable[TensorPlace]) -> bytes:
    """The descriptor of a model.

    Raises `UnsupportedModelError` for a tensor or a weight type that the kernel does not know.
    """
    entries = []
    for tensor in sorted(tensors, key=lambda t: t.offset):
        slot, layer = _slot(tensor.name)
        if tensor.type not in TYPE_IDS:
            raise UnsupportedModelError(
                f"tensor {tensor.name}: weight type {tensor.type} is not supported by the kernel; "
                "supported: " + ", ".join(TYPE_IDS)
            )
        depth, rows, columns = (1, 1, *tensor.shape)[-3:]
        type_id = TYPE_IDS[tensor.type]
        if len(tensor.shape) == 1 and type_id != 0:
            raise UnsupportedModelError(
                f"tensor {tensor.name}: a vector must be F32, not {tensor.type}"
            )
        entries.append(ENTRY.pack(slot, layer, type_id, rows, columns, depth, float(tensor.offset)))
    header = HEADER.pack(MAGIC, DESCRIPTOR_VERSION, len(FIELDS), len(entries))
    numbers = struct.pack(f"<{len(FIELDS)}d", *(_number(config, name) for name in FIELDS))
    return header + numbers + b"".join(entries)


def _number(config: ModelConfig, name: str) -> float:
    value = getattr(config, name)
    return float(CHOICES[name].index(value) if name in CHOICES else value)
