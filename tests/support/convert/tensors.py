"""From the state of a transformers module to the tensors of a GGUF file, as llama.cpp does it.

Names come from the `gguf` package's own tables. What remains is told here: which rows are
permuted, which tensors are split or transposed, where a 1 is added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

__all__ = ["gguf_tensors"]

Tensors = dict[str, NDArray[np.float64]]

# Renamed before the look-up: what transformers calls otherwise than the models' own files.
RENAMED = {
    "granitemoe": {"block_sparse_moe.router": "block_sparse_moe.gate"},
    "bitnet": {"attn_sub_norm": "inner_attn_ln", "ffn_sub_norm": "ffn_layernorm"},
    "bloom": {"transformer.": ""},
    "bert": {"bert.": ""},
    "nomic-bert": {
        "layers.": "encoder.layers.",
        "post_attention_layernorm": "norm1",
        "post_mlp_layernorm": "norm2",
        "self_attn.o_proj": "attn.out_proj",
        "mlp.gate_proj": "mlp.fc12",
        "mlp.up_proj": "mlp.fc11",
        "mlp.down_proj": "mlp.fc2",
    },
}


def gguf_tensors(architecture: str, config: Any, module: Any) -> Tensors:
    """GGUF name to array: (experts, rows, columns), (rows, columns) or (length,)."""
    state: Tensors = {name: value.numpy() for name, value in module.state_dict().items()}
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    for old, new in RENAMED.get(architecture, {}).items():
        state = {name.replace(old, new): value for name, value in state.items()}
    change = CHANGES.get(architecture)
    state = _split_experts(state)
    if change:
        state = change(state, config)
    return {_gguf_name(architecture, config, name): value for name, value in state.items()}


def _gguf_name(architecture: str, config: Any, name: str) -> str:
    if name.startswith("="):  # a GGUF name already
        return name[1:]
    number = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture)
    table = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    found = table.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None and not name.startswith("model."):
        found = table.get_name("model." + name, try_suffixes=(".weight", ".bias"))
    assert found, f"{name} has no name in GGUF"
    return found


def _split_experts(state: Tensors) -> Tensors:
    """Gates and rows that go up are one tensor in transformers."""
    out: Tensors = {}
    for name, value in state.items():
        if name.endswith("experts.gate_up_proj"):
            layer = name.split(".layers.")[1].split(".")[0]
            gate, up = np.split(value, 2, axis=1)
            out[f"=blk.{layer}.ffn_gate_exps.weight"] = gate
            out[f"=blk.{layer}.ffn_up_exps.weight"] = up
        elif name.endswith("experts.down_proj"):
            layer = name.split(".layers.")[1].split(".")[0]
            out[f"=blk.{layer}.ffn_down_exps.weight"] = value
        elif name.endswith("shared_expert_gate.weight"):
            out[name] = value[0]
        else:
            out[name] = value
    return out


def _interleave(rows: NDArray[np.float64], n_heads: int) -> NDArray[np.float64]:
    """Rotary pairs (i, i + d/2) of each head's rows become neighbours (2i, 2i + 1)."""
    heads = rows.reshape(n_heads, 2, -1, *rows.shape[1:])
    return heads.swapaxes(1, 2).reshape(rows.shape)


def _llama(state: Tensors, config: Any) -> Tensors:
    for name, value in state.items():
        if ".q_proj." in name:
            state[name] = _interleave(value, config.num_attention_heads)
        if ".k_proj." in name:
            state[name] = _interleave(value, config.num_key_value_heads)
    return state


def _granitemoe(state: Tensors, config: Any) -> Tensors:
    out: Tensors = {}
    for name, value in _llama(state, config).items():
        if "shared_mlp." not in name:
            out[name] = value
            continue
        layer = name.split(".layers.")[1].split(".")[0]
        if "input_linear" in name:
            out[f"=blk.{layer}.ffn_gate_shexp.weight"] = value[: len(value) // 2]
            out[f"=blk.{layer}.ffn_up_shexp.weight"] = value[len(value) // 2 :]
        else:
            out[f"=blk.{layer}.ffn_down_shexp.weight"] = value
    return out


def _add_one(state: Tensors, _: Any) -> Tensors:
    return {n: value + n.endswith("norm.weight") for n, value in state.items()}


def _gpt2(state: Tensors, _: Any) -> Tensors:
    """Its linear layers multiply from the other side."""
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return {n: value.T if n.endswith(turned) else value for n, value in state.items()}


def _separate_qkv(state: Tensors, groups: int, heads: int) -> Tensors:
    """Rows in `groups` of some query heads, a key head, a value head become all q, all k, all v."""
    out: Tensors = {}
    for name, value in state.items():
        if "query_key_value" in name:
            parts = value.reshape(groups, heads // groups + 2, -1, *value.shape[1:])
            rows = (parts[:, :-2], parts[:, -2], parts[:, -1])
            value = np.concatenate([part.reshape(-1, *value.shape[1:]) for part in rows])
        out[name] = value
    return out


def _separate_heads(state: Tensors, config: Any) -> Tensors:
    return _separate_qkv(state, config.num_attention_heads, config.num_attention_heads)


def _falcon(state: Tensors, config: Any) -> Tensors:
    groups = config.num_kv_heads if config.new_decoder_architecture else 1
    return _separate_qkv(state, groups, config.num_attention_heads)


def _bert(state: Tensors, config: Any) -> Tensors:
    ranks = "classifier.weight" in state
    out = {
        name: value
        for name, value in state.items()
        if not name.startswith(("pooler.", "classifier.")) and "position_ids" not in name
    }
    if ranks:
        out["=cls.weight"], out["=cls.bias"] = (
            state["pooler.dense.weight"],
            state["pooler.dense.bias"],
        )
        out["=cls.output.weight"] = state["classifier.weight"][0]
        out["=cls.output.bias"] = state["classifier.bias"]
    return out


def _nomic(state: Tensors, config: Any) -> Tensors:
    """Queries, keys and values are one matrix in the model's own files."""
    out = dict(state)
    for layer in range(config.num_hidden_layers):
        prefix = f"encoder.layers.{layer}."
        parts = [out.pop(f"{prefix}self_attn.{x}_proj.weight") for x in "qkv"]
        out[prefix + "attn.Wqkv.weight"] = np.concatenate(parts)
    return out


CHANGES: dict[str, Callable[[Tensors, Any], Tensors]] = {
    "llama": _llama,
    "smollm3": _llama,
    "granite": _llama,
    "granitemoe": _granitemoe,
    "arcee": _llama,
    "gemma": _add_one,
    "gemma2": _add_one,
    "gemma3": _add_one,
    "nemotron": _add_one,
    "gpt2": _gpt2,
    "gptneox": _separate_heads,
    "bloom": _separate_heads,
    "falcon": _falcon,
    "bert": _bert,
    "nomic-bert": _nomic,
}
