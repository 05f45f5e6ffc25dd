"""A tiny BitNet, or Llama with its layers, in a Hugging Face folder, packed by NumPy alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlr.tokenizer.byte_level import byte_values
from tests.support.tiny_bert import write_safetensors

__all__ = ["CHAT", "END", "LINEAR", "TOKENS", "VOCABULARY", "bitnet_files", "pack", "tiny_bitnet"]

WIDTH, INNER, LAYERS, HEADS, KV_HEADS = 256, 512, 2, 4, 2
MERGES = (("t", "h"), ("th", "e"), ("Ġ", "the"))
SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>")
TOKENS = [*sorted(byte_values()), *(a + b for a, b in MERGES), *SPECIAL]
VOCABULARY = len(TOKENS) + 2  # embeddings that no token has
END = TOKENS.index("<|eot_id|>")
LINEAR = {
    **{f"self_attn.{x}_proj": f"attn_{x}" for x in "qkv"},
    "self_attn.o_proj": "attn_output",
    **{f"mlp.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")},
}
CHAT = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|eot_id|>{% endfor %}"

Stored = dict[str, tuple[str, NDArray[Any]]]


def pack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Four quarters of the rows in two bits each; `codes` are 0, 1, 2."""
    packed = np.zeros((len(codes) // 4, codes.shape[1]), np.uint8)
    for i, quarter in enumerate(np.split(codes, 4)):
        packed |= quarter << (2 * i)
    return packed


def shapes(width: int = WIDTH) -> dict[str, tuple[int, int]]:
    """Rows and columns of a layer's matrices."""
    values = width * KV_HEADS // HEADS
    attention = {"q": width, "k": values, "v": values, "o": width}
    return {
        **{f"self_attn.{name}_proj": (rows, width) for name, rows in attention.items()},
        "mlp.gate_proj": (INNER, width),
        "mlp.up_proj": (INNER, width),
        "mlp.down_proj": (width, INNER),
    }


def tiny_bitnet(
    folder: Path, *, llama: bool = False, width: int = WIDTH, shards: int = 1, **quantization: Any
) -> tuple[Path, Stored]:
    """The folder, and what its tensors are; those of a Llama have two norms less in a layer.

    With `quantization_mode="online"` the matrices are floats, without `linear_class` plain ones.
    """
    draw = np.random.default_rng(11)
    packed = bool(quantization) and quantization.get("quantization_mode") != "online"
    tensors: Stored = {
        "model.embed_tokens.weight": _floats(draw.normal(0, 1, (VOCABULARY, width))),
        "model.norm.weight": _floats(draw.normal(1, 0.2, width)),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for name, length in (
            *(("input_layernorm", width), ("post_attention_layernorm", width)),
            *(() if llama else (("self_attn.attn_sub_norm", width), ("mlp.ffn_sub_norm", INNER))),
        ):
            tensors[f"{prefix}{name}.weight"] = _floats(draw.normal(1, 0.2, length))
        for name, shape in shapes(width).items():
            if packed:
                codes = draw.integers(0, 3, shape).astype(np.uint8)
                tensors[f"{prefix}{name}.weight"] = ("U8", pack(codes))
                factor = draw.uniform(0.02, 0.1) ** (
                    -1 if quantization["linear_class"] == "bitlinear" else 1
                )
                tensors[f"{prefix}{name}.weight_scale"] = _floats(np.array([factor]))
            else:
                tensors[f"{prefix}{name}.weight"] = _floats(draw.normal(0, 0.05, shape))
    bitnet_files(folder, llama=llama, width=width, **quantization)
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, format="pt")
        return folder, tensors
    places: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        names = list(tensors)[shard::shards]
        write_safetensors(folder / file, {name: tensors[name] for name in names}, format="pt")
        places |= dict.fromkeys(names, file)
    _write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return folder, tensors


def bitnet_files(
    folder: Path, *, llama: bool = False, width: int = WIDTH, **quantization: Any
) -> None:
    """All but the tensors."""
    folder.mkdir(parents=True)
    config = {
        "model_type": "llama" if llama else "bitnet",
        "architectures": ["LlamaForCausalLM" if llama else "BitNetForCausalLM"],
        "hidden_act": "silu" if llama else "relu2",
        "hidden_size": width,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "vocab_size": VOCABULARY,
        "bos_token_id": TOKENS.index("<|begin_of_text|>"),
        "eos_token_id": TOKENS.index("<|end_of_text|>"),
        **(
            {"quantization_config": {"quant_method": "bitnet", **quantization}}
            if quantization
            else {}
        ),
    }
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {"eos_token_id": [config["eos_token_id"], END]})
    _write(folder / "tokenizer.json", _tokenizer())
    _write(folder / "tokenizer_config.json", {"chat_template": CHAT})


def _floats(values: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """BF16, cut off."""
    return "BF16", (values.astype("<f4").view("<u4") >> 16).astype("<u2")


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def _tokenizer() -> dict[str, Any]:
    begin = SPECIAL[0]
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": TOKENS.index(token), "content": token, "special": True, **flags}
            for token in SPECIAL
        ],
        "normalizer": None,
        "pre_tokenizer": step,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": begin, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {
                begin: {"id": begin, "ids": [TOKENS.index(begin)], "tokens": [begin]}
            },
        },
        "decoder": step,
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(TOKENS) if token not in SPECIAL},
            "merges": [list(pair) for pair in MERGES],
        },
    }
