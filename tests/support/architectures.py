"""A tiny model of every architecture, with random weights: for comparing engines.

`CASES` has each architecture at least once, with the features on that its models use. Matrices
have rows of multiples of 32, so that they can be stored in every type with blocks of 32; the
other sizes are awkward on purpose. `build` writes a real GGUF file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from mlr.formats.expected_tensors import ExpectedTensor, expected_tensors
from mlr.formats.model_config import ModelConfig
from tests.support.gguf_keys import add_hyperparameters
from tests.support.tiny_tokenizers import add_spm_tokenizer
from tests.support.weights import random_matrix

__all__ = ["CASES", "ArchitectureCase", "random_vector"]

# Small matrices, which converters leave in float32.
ALWAYS_F32 = ("position_embd", "token_types", "ffn_gate_inp")

QKV_BIAS = ("attn_q.bias", "attn_k.bias", "attn_v.bias")
NORM_BIAS = (
    *("attn_norm.bias", "attn_norm_2.bias", "ffn_norm.bias", "output_norm.bias"),
    *("token_embd_norm.bias", "attn_output_norm.bias", "layer_output_norm.bias"),
)
LINEAR_BIAS = (*QKV_BIAS, "attn_qkv.bias", "attn_output.bias", "ffn_up.bias", "ffn_down.bias")
SCALES = tuple(
    f"{name}.scale"
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
)


@dataclass(frozen=True)
class ArchitectureCase:
    """A configuration, and which of the tensors that it may have are there."""

    name: str
    config: ModelConfig
    optional: frozenset[str]  # by name within a layer, or within the model

    def tensors(self) -> list[ExpectedTensor]:
        """Those in the file, in its order. A bias is there only with its weights."""
        found = {
            t.name: t for t in expected_tensors(self.config) if t.required or self._wanted(t.name)
        }
        return [
            tensor
            for name, tensor in found.items()
            if not name.endswith(".bias") or name.removesuffix("bias") + "weight" in found
        ]

    def _wanted(self, name: str) -> bool:
        return ".".join(name.split(".")[-2:]) in self.optional

    def build(self, folder: Path, weight_type: str = "F32", seed: int = 0) -> Path:
        """Write the model into `folder`, if it is not there yet, and return its path.

        `weight_type` is that of the matrices: F32, F16, BF16, or one with blocks of 32. The same
        arguments give the same bytes.
        """
        path = folder / f"{self.name}-{weight_type}-{seed}.gguf"
        if path.exists():
            return path
        rng = np.random.default_rng([seed, *self.name.encode()])
        writer = gguf.GGUFWriter(path, self.config.architecture)
        writer.add_name(f"tiny {self.name}")
        add_hyperparameters(writer, self.config)
        add_spm_tokenizer(writer, self.config.n_vocab, last="<|endoftext|>")  # for Phi 3
        for tensor in self.tensors():
            if len(tensor.shape) == 1:
                writer.add_tensor(tensor.name, random_vector(rng, tensor.name, tensor.shape[0]))
                continue
            kind = "F32" if tensor.name.split(".")[-2] in ALWAYS_F32 else weight_type
            *depth, rows, columns = tensor.shape
            data = random_matrix(rng, kind, math.prod(depth) * rows, columns, columns**-0.5)
            data = data.reshape(*depth, rows, -1)
            writer.add_tensor(tensor.name, data, raw_dtype=gguf.GGMLQuantizationType[kind])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def random_vector(rng: np.random.Generator, name: str, length: int) -> NDArray[np.float32]:
    """The weights of a norm, a bias, a matrix's factor, or divisors of frequencies; float32."""
    noise = rng.standard_normal(length)
    if name == "rope_freqs.weight":
        values = np.clip(np.linspace(-4.0, 13.0, length), 1.0, 8.0)
    elif name.startswith("rope_factors"):
        values = np.linspace(1.0, 3.0 if "short" in name else 20.0, length)
    elif name.endswith("shexp.weight") or name == "cls.output.weight":
        values = noise * length**-0.5
    elif name.endswith(".bias"):
        values = 0.3 * noise
    else:
        values = (4.0 if name == "output_norm.weight" else 1.0) * (1 + 0.2 * noise)
    return values.astype(np.float32)


def _case(name: str, *optional: str, **fields: Any) -> ArchitectureCase:
    """A case by what differs from a plain Llama; `name` begins with the architecture."""
    base: dict[str, Any] = {
        "architecture": name.partition("/")[0],
        "n_layers": 3,
        "n_embd": 64,
        "n_ff": 96,
        "n_heads": 4,
        "n_kv_heads": 2,
        "head_dim": 16,
        "n_vocab": 301,
        "context_length": 128,
        "norm_epsilon": 1e-5,
        "rope_theta": 10000.0,
        "rope_dim": 16,
        "rope_style": "half",
        "rope_scale": 1.0,
        "sliding_window": 0,
        "sliding_pattern": 0,
        "activation": "silu",
        "embedding_scale": 1.0,
    }
    fields = base | fields
    fields.setdefault("rope_theta_local", fields["rope_theta"])
    fields.setdefault("attention_scale", fields["head_dim"] ** -0.5)
    if fields.get("positions", "rope") != "rope":
        fields["rope_dim"] = 0
    return ArchitectureCase(name.replace("/", "-"), ModelConfig(**fields), frozenset(optional))


MOE = {"n_experts": 5, "n_experts_used": 2, "n_ff_expert": 32}
MIXTRAL = {**MOE, "n_ff": 32, "expert_weights_norm": True}
GEMMA: dict[str, Any] = {"activation": "gelu", "embedding_scale": 8.0}
LAYER: dict[str, Any] = {"norm": "layer"}
GPT: dict[str, Any] = {**LAYER, "gated": False, "activation": "gelu"}
ENCODER: dict[str, Any] = {
    **LAYER,
    "pre_norm": False,
    "post_norm": "sum",
    "n_kv_heads": 4,
    "causal": False,
    "embedding_norm": True,
    "token_types": 2,
}
YARN: dict[str, Any] = {
    "rope_scaling": "yarn",
    "rope_scale": 0.25,
    "rope_original_context": 32,
    "rope_attention_factor": 1.0 + 0.1 * math.log(4.0),
}

CASES: dict[str, ArchitectureCase] = {
    case.name: case
    for case in (
        _case("llama", "output.weight", rope_style="interleaved"),
        _case("llama/3", "rope_freqs.weight", rope_style="interleaved", rope_theta=5e5),
        _case("llama/window", rope_style="interleaved", sliding_window=9, sliding_pattern=4),
        _case("llama/moe", "output.weight", rope_style="interleaved", **MIXTRAL),
        _case("smollm3", n_layers=5, rope_style="interleaved", rope_skip=4),
        _case("qwen2", *QKV_BIAS, rope_theta=1e6),
        _case("qwen2/yarn", *QKV_BIAS, **YARN),
        _case(
            "qwen2moe",
            *QKV_BIAS,
            "output.weight",
            "ffn_gate_inp_shexp.weight",
            n_ff_shared=64,
            **MOE,
        ),
        _case("qwen3", qk_norm="head", head_dim=32, rope_dim=32),
        _case("qwen3/embedding", qk_norm="head", pooling="last"),
        _case("qwen3moe", "output.weight", qk_norm="head", expert_weights_norm=True, **MOE),
        _case(
            *("phi3", "output.weight"),
            fused_qkv=True,
            fused_gate_up=True,
            sliding_window=12,
            sliding_pattern=4,
        ),
        _case(
            *("phi3/longrope", "output.weight"),
            fused_qkv=True,
            fused_gate_up=True,
            rope_dim=12,
            rope_scaling="longrope",
            rope_original_context=32,
            rope_attention_factor=1.19,
        ),
        _case("exaone"),
        _case("exaone4", pre_norm=False, post_norm="branch", qk_norm="head"),
        # Llama 3's divisors in layers that slide: no other model has both.
        _case(
            *("exaone4/window", "rope_freqs.weight"),
            n_layers=5,
            pre_norm=False,
            post_norm="branch",
            qk_norm="head",
            rope_skip=4,
            sliding_window=9,
            sliding_pattern=4,
        ),
        _case("ernie4_5", rope_style="interleaved"),
        _case(
            *("glm4", *QKV_BIAS, "output.weight"),
            rope_style="interleaved",
            rope_dim=8,
            post_norm="branch",
            fused_gate_up=True,
        ),
        _case("arcee", rope_style="interleaved", activation="relu_squared", gated=False),
        _case(
            *("nemotron", *NORM_BIAS, "output.weight"),
            rope_dim=8,
            activation="relu_squared",
            gated=False,
            **LAYER,
        ),
        _case("olmoe", "output.weight", n_kv_heads=4, qk_norm="full", **MOE, n_ff=32),
        _case(
            "granite",
            rope_style="interleaved",
            embedding_scale=12.0,
            residual_scale=0.22,
            logit_scale=0.125,
            attention_scale=0.0625,
        ),
        _case(
            "granitemoe",
            rope_style="interleaved",
            embedding_scale=12.0,
            residual_scale=0.22,
            logit_scale=0.125,
            attention_scale=0.0625,
            n_ff_shared=64,
            **MIXTRAL,
        ),
        _case(
            *("olmo2/3", "output.weight"),
            n_layers=5,
            pre_norm=False,
            post_norm="branch",
            qk_norm="full",
            sliding_window=9,
            sliding_pattern=4,
            **YARN,
        ),
        _case("olmo2", "output.weight", pre_norm=False, post_norm="branch", qk_norm="full"),
        _case("bitnet", *SCALES, sub_norms=True),
        _case("bitnet-b1.58", sub_norms=True, activation="relu_squared"),
        _case("stablelm", "output.weight", *QKV_BIAS, *NORM_BIAS, rope_dim=4, **LAYER),
        _case(
            *("stablelm/parallel", "output.weight", *NORM_BIAS),
            rope_dim=4,
            parallel_residual=True,
            **LAYER,
        ),
        _case(
            "command-r",
            rope_style="interleaved",
            parallel_residual=True,
            logit_scale=0.0625,
            **LAYER,
        ),
        _case(
            "cohere2",
            n_layers=5,
            rope_style="interleaved",
            rope_skip=4,
            parallel_residual=True,
            logit_scale=0.25,
            sliding_window=8,
            sliding_pattern=4,
            **LAYER,
        ),
        _case("gemma", n_kv_heads=1, head_dim=32, rope_dim=32, **GEMMA),
        _case(
            "gemma2",
            post_norm="branch",
            sliding_window=8,
            sliding_pattern=2,
            attention_softcap=20.0,
            final_softcap=10.0,
            **GEMMA,
        ),
        _case(
            "gemma3",
            n_layers=7,
            n_kv_heads=1,
            head_dim=32,
            rope_dim=32,
            post_norm="branch",
            qk_norm="head",
            rope_theta=1e6,
            rope_theta_local=1e4,
            sliding_window=8,
            sliding_pattern=6,
            **GEMMA,
        ),
        _case(
            *("gpt2", *LINEAR_BIAS, *NORM_BIAS),
            n_kv_heads=4,
            positions="learned",
            fused_qkv=True,
            **GPT,
        ),
        _case(
            *("gptneox", "output.weight", "ffn_norm.weight", *LINEAR_BIAS, *NORM_BIAS),
            n_kv_heads=4,
            rope_dim=4,
            parallel_residual=True,
            fused_qkv=True,
            **GPT | {"activation": "gelu_erf"},
        ),
        _case(
            *("falcon", *NORM_BIAS),
            n_kv_heads=1,
            parallel_residual=True,
            fused_qkv=True,
            **GPT | {"activation": "gelu_erf"},
        ),
        _case(
            *("falcon/two-norms", "output.weight", "attn_norm_2.weight", *NORM_BIAS),
            parallel_residual=True,
            fused_qkv=True,
            **GPT | {"activation": "gelu_erf"},
        ),
        _case(
            *("bloom", *LINEAR_BIAS, *NORM_BIAS),
            n_kv_heads=4,
            positions="alibi",
            alibi_max_bias=8.0,
            embedding_norm=True,
            fused_qkv=True,
            **GPT,
        ),
        # Six heads: not a power of two, where ALiBi's slopes are of two kinds.
        _case(
            "mpt",
            n_embd=96,
            n_heads=6,
            n_kv_heads=6,
            positions="alibi",
            alibi_max_bias=8.0,
            fused_qkv=True,
            **GPT | {"activation": "gelu_erf"},
        ),
        _case(
            *("starcoder2", *LINEAR_BIAS, *NORM_BIAS), sliding_window=10, sliding_pattern=4, **GPT
        ),
        _case(
            *("phi2", "output.weight", "output.bias", *LINEAR_BIAS, *NORM_BIAS),
            n_kv_heads=4,
            rope_dim=8,
            parallel_residual=True,
            fused_qkv=True,
            **GPT,
        ),
        _case(
            *("bert", *LINEAR_BIAS, *NORM_BIAS),
            positions="learned",
            pooling="mean",
            **ENCODER | {"gated": False, "activation": "gelu_erf"},
        ),
        _case(
            *("bert/rank", *LINEAR_BIAS, *NORM_BIAS, "cls.weight", "cls.bias", "cls.output.bias"),
            positions="learned",
            pooling="rank",
            **ENCODER | {"gated": False, "activation": "gelu_erf"},
        ),
        _case("nomic-bert", *NORM_BIAS, pooling="mean", fused_qkv=True, **ENCODER),
        _case(
            *("jina-bert-v2", *QKV_BIAS, "attn_output.bias", "ffn_down.bias", *NORM_BIAS),
            positions="alibi",
            alibi_max_bias=8.0,
            pooling="cls",
            **ENCODER | {"activation": "gelu_erf"},
        ),
    )
}
