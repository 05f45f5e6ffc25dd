"""Models of transformers, one or more of each architecture, at a small width.

Each has on what its architecture is known for: grouped queries, windows shorter than the
prompt, scaled rotary positions, soft caps, experts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["MODELS", "Model", "random_model"]

COMMON: dict[str, Any] = {
    "vocab_size": 301,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attn_implementation": "eager",
    "experts_implementation": "eager",
}
ADD_ONE = ("Gemma", "Nemotron")  # classes whose norms add 1 to their weights
DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.3, 1.6],
    "long_factor": [1.0, 1.9, 3.5, 7.25],
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
MULTIPLIERS = {
    "embedding_multiplier": 6.0,
    "residual_multiplier": 0.3,
    "attention_multiplier": 0.2,
    "logits_scaling": 4.0,
}


@dataclass(frozen=True)
class Model:
    """A model of transformers: GGUF's name of its architecture, classes, configuration."""

    architecture: str
    classes: str  # "Llama" of LlamaForCausalLM, and of LlamaConfig
    options: dict[str, Any] = field(default_factory=dict)
    head: str = "ForCausalLM"
    pooling: int = 0  # GGUF's `pooling_type`


def _gpt(**more: Any) -> dict[str, Any]:
    """For classes that have always as many key heads as query heads."""
    return {"num_key_value_heads": None, **more}


def _longrope(original: int) -> dict[str, Any]:
    """The prompt is longer or shorter than what the model was first trained on."""
    context = {"original_max_position_embeddings": original}
    return {"rope_parameters": {**LONGROPE, **context}, **context}


MODELS: dict[str, Model] = {
    "llama": Model("llama", "Llama"),
    "llama-3": Model("llama", "Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama-linear": Model(
        "llama",
        "Llama",
        {"rope_parameters": {**DEFAULT_ROPE, "rope_type": "linear", "factor": 4.0}},
    ),
    "llama-ntk": Model(  # as transformers computes it for the whole prompt of 40 tokens
        "llama",
        "Llama",
        {
            "max_position_embeddings": 20,
            "rope_parameters": {**DEFAULT_ROPE, "rope_type": "dynamic", "factor": 2.0},
        },
    ),
    "llama-biases": Model("llama", "Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-yarn": Model("llama", "Llama", {"rope_parameters": YARN}),
    "mistral": Model("llama", "Mistral", {"sliding_window": 9, "head_dim": 16}),
    "mixtral": Model(
        "llama", "Mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 9}
    ),
    "smollm3": Model("smollm3", "SmolLM3", {"num_hidden_layers": 5, "no_rope_layer_interval": 4}),
    "qwen2": Model("qwen2", "Qwen2", {"tie_word_embeddings": True}),
    "qwen2-yarn": Model("qwen2", "Qwen2", {"rope_parameters": YARN}),
    "qwen2moe": Model(
        "qwen2moe",
        "Qwen2Moe",
        {
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 40,
        },
    ),
    "qwen3": Model("qwen3", "Qwen3", {"head_dim": 16}),
    "qwen3-embedding": Model("qwen3", "Qwen3", {"head_dim": 16}, "Model", pooling=3),
    "qwen3moe": Model(
        "qwen3moe",
        "Qwen3Moe",
        {
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "norm_topk_prob": True,
        },
    ),
    "gemma": Model("gemma", "Gemma", {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma2": Model(
        "gemma2",
        "Gemma2",
        {
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 9,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
            "tie_word_embeddings": True,
        },
    ),
    "gemma3": Model(
        "gemma3",
        "Gemma3",
        {
            "num_hidden_layers": 7,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 9,
            "tie_word_embeddings": True,
            "layer_types": [*["sliding_attention"] * 5, "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {
                    "rope_type": "linear",
                    "factor": 8.0,
                    "rope_theta": 1e6,
                },
                "sliding_attention": DEFAULT_ROPE,
            },
        },
    ),
    "phi3": Model("phi3", "Phi3", {"sliding_window": 9}),
    "phi3-longrope": Model("phi3", "Phi3", _longrope(16)),
    "phi3-longrope-short": Model("phi3", "Phi3", _longrope(64)),
    "phi2": Model("phi2", "Phi", {"partial_rotary_factor": 0.5}),
    "exaone4": Model("exaone4", "Exaone4", {"sliding_window": None}),
    "exaone4-window": Model(
        "exaone4",
        "Exaone4",
        {
            "num_hidden_layers": 5,
            "sliding_window": 9,
            "sliding_window_pattern": 4,
            "layer_types": [*["sliding_attention"] * 3, "full_attention", "sliding_attention"],
            "rope_parameters": LLAMA3,
        },
    ),
    "ernie4_5": Model("ernie4_5", "Ernie4_5", {"head_dim": 16}),
    "glm4": Model("glm4", "Glm4", {"head_dim": 8, "attention_bias": True}),
    "arcee": Model("arcee", "Arcee"),
    "nemotron": Model("nemotron", "Nemotron"),
    "olmoe": Model("olmoe", "Olmoe", {"num_experts": 5, "num_experts_per_tok": 2}),
    "granite": Model("granite", "Granite", MULTIPLIERS),
    "granitemoe": Model(
        "granitemoe",
        "GraniteMoeShared",
        {
            **MULTIPLIERS,
            "num_local_experts": 5,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 40,
        },
    ),
    "olmo2": Model("olmo2", "Olmo2"),
    "olmo3": Model(
        "olmo2",
        "Olmo3",
        {
            "num_hidden_layers": 5,
            "sliding_window": 9,
            "layer_types": [*["sliding_attention"] * 3, "full_attention", "sliding_attention"],
            "rope_parameters": YARN,
        },
    ),
    "stablelm": Model("stablelm", "StableLm", {"use_qkv_bias": True}),
    "stablelm-parallel": Model("stablelm", "StableLm", {"use_parallel_residual": True}),
    "bitnet": Model("bitnet", "BitNet", {"hidden_act": "relu2", "tie_word_embeddings": True}),
    "command-r": Model("command-r", "Cohere", {"logit_scale": 0.3, "tie_word_embeddings": True}),
    "cohere2": Model(
        "cohere2",
        "Cohere2",
        {
            "num_hidden_layers": 5,
            "logit_scale": 0.3,
            "sliding_window": 9,
            "tie_word_embeddings": True,
        },
    ),
    "gpt2": Model("gpt2", "GPT2", _gpt(n_inner=80), "LMHeadModel"),
    "gptneox": Model("gptneox", "GPTNeoX", _gpt(rotary_pct=0.5)),
    "gptneox-sequential": Model("gptneox", "GPTNeoX", _gpt(use_parallel_residual=False)),
    "falcon": Model("falcon", "Falcon", _gpt(ffn_hidden_size=80, tie_word_embeddings=True)),
    "falcon-two-norms": Model(
        "falcon",
        "Falcon",
        _gpt(ffn_hidden_size=80, new_decoder_architecture=True, num_kv_heads=2),
    ),
    "bloom": Model("bloom", "Bloom", _gpt(intermediate_size=None, tie_word_embeddings=True)),
    "mpt": Model("mpt", "Mpt", _gpt(intermediate_size=None, tie_word_embeddings=True)),
    "starcoder2": Model("starcoder2", "Starcoder2", {"sliding_window": 9}),
    "bert": Model("bert", "Bert", _gpt(), "Model", pooling=1),
    "bert-cls": Model("bert", "Bert", _gpt(), "Model", pooling=2),
    "bert-rank": Model("bert", "Bert", _gpt(num_labels=1), "ForSequenceClassification", pooling=4),
    "nomic-bert": Model("nomic-bert", "NomicBert", _gpt(), "Model", pooling=1),
}


def random_model(name: str) -> Any:
    """The PyTorch module with random weights, in float64."""
    import torch
    import transformers

    model = MODELS[name]
    options = COMMON | model.options
    options = {key: value for key, value in options.items() if value is not None}
    if model.classes == "Mpt":
        options |= {"max_seq_len": 128}
    if model.classes == "GPT2":
        options |= {"n_positions": 128}
    text = "Text" if model.classes == "Gemma3" else ""
    config = getattr(transformers, f"{model.classes}{text}Config")(**options)
    module = getattr(transformers, model.classes + model.head)(config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float32)
            if value.dim() > 1:
                value.copy_(noise * value.shape[-1] ** -0.5)
            elif parameter.endswith("bias"):
                value.copy_(noise * 0.3)
            else:  # a norm's
                value.copy_(noise * 0.2 + (0 if model.classes.startswith(ADD_ONE) else 1))
    return module.double().eval()
