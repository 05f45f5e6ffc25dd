"""Models of random architectures and sizes: any that a configuration allows, of any types."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlr.errors import MlrError
from mlr.formats.expected_tensors import ExpectedTensor, expected_tensors
from mlr.formats.model_config import ModelConfig
from tests.support.architectures import random_vector
from tests.support.weights import BLOCK, make_scales_positive, random_matrix

__all__ = ["RandomTensor", "random_config", "random_tensors"]

WIDEST = 2048  # of all queries together
HEAD_DIMS = (4, 8, 12, 16, 20, 28, 32, 36, 40, 44, 48, 64, 72, 80, 96, 100, 128, 160, 192, 256)
WINDOWS = (1, 2, 3, 7, 15, 16, 17, 31, 63, 64, 65, 100, 200)


@dataclass(frozen=True)
class RandomTensor:
    """A tensor with its bytes, at a place in a file that does not exist."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    data: bytes


def random_config(random: random.Random) -> ModelConfig:
    """Sizes are small and awkward; what does not go together is drawn again."""
    while True:
        try:
            return ModelConfig(**_fields(random))
        except MlrError:
            continue


def _fields(random: random.Random) -> dict[str, Any]:
    choice, causal, pre_norm = random.choice, random.random() < 0.85, random.random() < 0.75
    fields = _sizes(random)
    head_dim = fields["head_dim"]
    fields |= {
        "architecture": "llama",
        "norm": choice(("rms", "layer")),
        "norm_epsilon": choice((1e-6, 1e-5, 1e-3)),
        "qk_norm": choice(("none", "none", "head", "full")),
        "activation": choice(("silu", "gelu", "gelu_erf", "relu", "relu_squared")),
        "gated": random.random() < 0.7,
        "embedding_scale": choice((1.0, 1.0, 8.0)),
        "residual_scale": choice((1.0, 1.0, 0.3)),
        "logit_scale": choice((1.0, 1.0, 0.2)),
        "attention_scale": choice((head_dim**-0.5, head_dim**-0.5, 1 / head_dim, 0.5)),
        "attention_softcap": choice((0.0, 0.0, 20.0)),
        "final_softcap": choice((0.0, 0.0, 10.0)),
        "embedding_norm": random.random() < 0.2,
        "sub_norms": random.random() < 0.2,
        "fused_qkv": random.random() < 0.3,
        "fused_gate_up": random.random() < 0.3,
        "pre_norm": pre_norm,
        "parallel_residual": pre_norm and random.random() < 0.2,
        "post_norm": choice(("none", "branch", "sum")),
        "sliding_window": choice(WINDOWS) if causal and random.random() < 0.4 else 0,
        "sliding_pattern": choice((0, 1, 2, 3, 99)),
        "causal": causal,
        "pooling": choice(("none",) * 6 + ("last", "rank") if causal else ("mean", "cls", "rank")),
        "normalize_embeddings": random.random() < 0.5,
        "token_types": 0 if causal else random.randrange(4),
        **_positions(random, head_dim),
    }
    if random.random() < 0.25:
        fields |= _experts(random, fields["n_embd"])
    # Fused matrices are taken apart at multiples of 8 rows; sub norms take whole vectors.
    if fields["n_heads"] * head_dim % 8 or fields["n_kv_heads"] * head_dim % 8:
        fields["fused_qkv"] = False
    if fields["fused_gate_up"] or fields["sub_norms"]:
        fields["n_ff"] = -(-fields["n_ff"] // 8) * 8
    return fields


def _sizes(random: random.Random) -> dict[str, Any]:
    choice = random.choice
    head_dim, unit = choice(HEAD_DIMS), choice((4, 4, 8, 32, 32, 64, 256))
    n_kv_heads = min(choice((1, 1, 2, 3, 4, 5, 8)), WIDEST // head_dim)
    group = min(choice((1, 1, 2, 3, 4, 5, 7, 8, 12, 20, 70)), WIDEST // (head_dim * n_kv_heads))
    return {
        "n_layers": random.randint(1, 3),
        "n_embd": unit * random.randint(-(-32 // unit), 512 // unit),
        "n_ff": choice((random.randint(1, 300), 32 * random.randint(1, 20), 512, 768)),
        "n_heads": n_kv_heads * group,
        "n_kv_heads": n_kv_heads,
        "head_dim": head_dim,
        "n_vocab": choice((random.randint(2, 40), random.randint(41, 700), 301, 512, 5003)),
        "context_length": choice((128, 300, 400)),
    }


def _positions(random: random.Random, head_dim: int) -> dict[str, Any]:
    choice = random.choice
    fields: dict[str, Any] = {
        "positions": choice(("rope", "rope", "rope", "learned", "alibi", "none")),
        "rope_dim": 0,
        "rope_style": choice(("half", "interleaved")),
        "rope_theta": choice((1e2, 1e4, 5e5)),
        "rope_theta_local": choice((1e3, 1e4)),
        "rope_scale": 1.0,
    }
    if fields["positions"] == "alibi":
        fields["alibi_max_bias"] = choice((4.0, 8.0))
    if fields["positions"] != "rope":
        return fields
    scaling = choice(("none", "none", "linear", "yarn", "longrope"))
    return fields | {
        "rope_dim": choice((head_dim, head_dim, 2 * random.randint(1, head_dim // 2))),
        "rope_skip": choice((0, 0, 0, 2, 3)),
        "rope_scaling": scaling,
        "rope_scale": choice((0.5, 0.25)) if scaling in ("linear", "yarn") else 1.0,
        "rope_original_context": choice((16, 64, 4096)) if scaling in ("yarn", "longrope") else 0,
        "rope_attention_factor": choice((1.0, 1.14)),
        "rope_extension": choice((1.0, 0.5)),
    }


def _experts(random: random.Random, n_embd: int) -> dict[str, Any]:
    n_experts = random.choice((1, 2, 3, 5, 8, 9, 17))
    return {
        "n_embd": -(-n_embd // 8) * 8,
        "gated": True,
        "fused_gate_up": False,
        "sub_norms": False,
        "n_experts": n_experts,
        "n_experts_used": min(random.choice((1, 2, 3, n_experts)), n_experts),
        "n_ff_expert": random.choice((8 * random.randint(1, 12), 32, 256)),
        "n_ff_shared": random.choice((0, 0, random.randint(1, 90), 64, 256)),
        "expert_weights_norm": random.random() < 0.5,
        "expert_weights_scale": random.choice((1.0, 2.5)),
    }


def random_tensors(
    random: random.Random, config: ModelConfig, *, floats: bool
) -> list[RandomTensor]:
    """Weights in file order; `floats`: matrices of F32, instead of any type that fits the rows."""
    rng = np.random.default_rng(random.randrange(2**32))
    usual, offset, tensors = random.choice(list(BLOCK)), random.choice((0, 64)), []
    for expected in _present(random, expected_tensors(config)):
        *depth, columns = expected.shape
        kind = "F32"
        if not depth:
            data = random_vector(rng, expected.name, columns).tobytes()
        else:
            if not floats:
                fitting = [name for name, (block, _) in BLOCK.items() if columns % block == 0]
                often = usual in fitting and random.random() < 0.6
                kind = usual if often else random.choice(fitting)
            matrix = random_matrix(rng, kind, math.prod(depth), columns, columns**-0.5)
            if kind == "Q8_0" and random.random() < 0.7:  # as quantizers give them
                make_scales_positive(matrix, kind)
            data = matrix.tobytes()
        tensors.append(RandomTensor(expected.name, kind, expected.shape, offset, data))
        offset += len(data) + random.choice((0, 0, 7, 32))
    return tensors


def _present(random: random.Random, tensors: list[ExpectedTensor]) -> list[ExpectedTensor]:
    """Those that are required; of each other kind all or none, and no bias without its weight."""
    kinds: dict[str, bool] = {}
    found: dict[str, ExpectedTensor] = {}
    for tensor in tensors:
        name, _, part = tensor.name.rpartition(".")
        kind = tensor.name.split(".", 2)[2] if tensor.name.startswith("blk.") else tensor.name
        wanted = tensor.required or kinds.setdefault(kind, random.random() < 0.4)
        if wanted and (part == "weight" or name + ".weight" in found):
            found[tensor.name] = tensor
    return list(found.values())
