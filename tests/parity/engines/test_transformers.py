"""The reference engine and the kernel against transformers on PyTorch, with random weights.

transformers is the models' authors' own account of what they compute, and shares nothing with
GGUF: tensor names, the order of rotary pairs and Gemma's norms are converted here, as llama.cpp's
converter does it. Both sides compute in float64, but for transformers' norms and rotary angles,
which it computes in float32 whatever the model's type: measured 2e-6 of the logits' deviation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlr.engines.reference import ReferenceEngine
from tests.support.kernels import every_logits, open_kernel
from tests.support.tensors import read_tensors
from tests.support.tiny_cases import TOKENS
from tests.support.tiny_models import SHAPES, TinyShape, tiny_gguf

pytestmark = pytest.mark.oracle

# GGUF name of a tensor of a layer: its name in transformers.
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def transformers_model(architecture: str, shape: TinyShape) -> Any:
    """A model with random weights, in float64."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    common: dict[str, Any] = {
        "vocab_size": shape.n_vocab,
        "hidden_size": shape.n_embd,
        "intermediate_size": shape.n_ff,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context_length,
        "rms_norm_eps": shape.norm_epsilon,
        "tie_word_embeddings": True,
        "attn_implementation": "eager",
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
    }
    if architecture == "gemma3":
        common |= {
            "query_pre_attn_scalar": shape.head_dim,
            "sliding_window": shape.sliding_window,
            "layer_types": [
                "full_attention" if (i + 1) % 6 == 0 else "sliding_attention"
                for i in range(shape.n_layers)
            ],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": shape.rope_theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        }
    config_name, model_name = {
        "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
        "llama": ("LlamaConfig", "LlamaForCausalLM"),
        "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
        "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    }[architecture]
    model = getattr(transformers, model_name)(getattr(transformers, config_name)(**common))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float32)
            if "norm" in name:  # Gemma adds the 1 itself
                value.copy_(noise * 0.2 + (0 if architecture == "gemma3" else 1))
            else:
                value.copy_(noise * value.shape[-1] ** -0.5)
    return model.double().eval()


def gguf_weights(architecture: str, shape: TinyShape, model: Any) -> dict[str, NDArray[np.float32]]:
    """The weights under GGUF's names, as llama.cpp's converter writes them."""
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    weights = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    names = dict(LAYER_NAMES)
    if architecture == "gemma3":
        names["ffn_norm"] = "pre_feedforward_layernorm"
    else:
        del names["post_attention_norm"]
    for i in range(shape.n_layers):
        for ours, theirs in names.items():
            for part in ("weight", "bias"):
                value = state.get(f"model.layers.{i}.{theirs}.{part}")
                if value is not None:
                    weights[f"blk.{i}.{ours}.{part}"] = value
    for name, value in weights.items():
        if architecture == "gemma3" and "norm" in name:
            weights[name] = value + 1
        if architecture == "llama" and name.endswith(("attn_q.weight", "attn_k.weight")):
            weights[name] = interleave(value, shape.head_dim)
    return {name: value.astype(np.float32) for name, value in weights.items()}


def interleave(rows: NDArray[np.float64], head_dim: int) -> NDArray[np.float64]:
    """Rotary pairs (i, i + d/2) of each head's rows become neighbours (2i, 2i + 1)."""
    heads = rows.reshape(-1, 2, head_dim // 2, rows.shape[-1])
    return heads.swapaxes(1, 2).reshape(rows.shape)


@pytest.mark.parametrize("architecture", SHAPES)
def test_same_logits(architecture: str, tmp_path: Path) -> None:
    shape = SHAPES[architecture]
    model = transformers_model(architecture, shape)
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        expected = model(torch.tensor([TOKENS])).logits[0].numpy()
    weights = gguf_weights(architecture, shape, model)
    path = tiny_gguf(
        tmp_path / "model.gguf",
        architecture=architecture,
        quantization="F32",
        n_ff=shape.n_ff,
        weights=weights,
    )
    exact = ReferenceEngine.from_tensors(*read_tensors(path), len(TOKENS), "float64")
    ours = exact.evaluate_all(TOKENS)
    assert expected.std() > 0.5
    assert np.abs(ours - expected).max() / expected.std() < 1e-5

    with open_kernel(path, context_length=len(TOKENS)) as kernel:
        logits = every_logits(kernel, TOKENS)
    # The kernel keeps keys and values in float16: see test_kernel_reference.py.
    assert np.abs(logits - expected).max() / expected.std() < 1e-2
