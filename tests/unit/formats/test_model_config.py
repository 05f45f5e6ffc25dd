"""Hyperparameters: what is refused, and what manifests of earlier versions mean."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import Any

import pytest

from mlr.errors import FormatError, LoadError, UnsupportedModelError
from mlr.formats.architectures import ARCHITECTURES
from mlr.formats.expected_tensors import ExpectedTensor, expected_tensors
from mlr.formats.model_config import CHOICES, RANGES, ModelConfig

# A configuration as the first version of the manifest had it.
FIRST = {
    "architecture": "llama",
    "n_layers": 2,
    "n_embd": 64,
    "n_ff": 96,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 16,
    "n_vocab": 100,
    "context_length": 128,
    "norm_epsilon": 1e-6,
    "rope_theta": 1e6,
    "rope_theta_local": 1e4,
    "rope_dim": 16,
    "rope_style": "half",
    "rope_scale": 1.0,
    "sliding_window": 0,
    "sliding_pattern": 0,
    "activation": "silu",
    "embedding_scale": 1.0,
    "attention_scale": 0.25,
}


def config(**changes: Any) -> ModelConfig:
    return ModelConfig.from_json(FIRST | changes)


@pytest.mark.parametrize(
    ("architecture", "norms"),
    [
        ("llama", set()),
        ("qwen2", set()),
        ("qwen3", {"attn_q_norm.weight", "attn_k_norm.weight"}),
        (
            "gemma3",
            {
                "attn_q_norm.weight",
                "attn_k_norm.weight",
                "post_attention_norm.weight",
                "post_ffw_norm.weight",
            },
        ),
    ],
)
def test_a_manifest_of_the_first_version(architecture: str, norms: set[str]) -> None:
    """It does not say which norms there are: its architecture does."""
    found = config(architecture=architecture)
    names = {t.name.removeprefix("blk.1.") for t in expected_tensors(found) if t.required}
    assert names & {"attn_q_norm.weight", "post_ffw_norm.weight"} == norms & {
        "attn_q_norm.weight",
        "post_ffw_norm.weight",
    }
    assert {name for name in names if "_norm" in name} == norms | {
        "output_norm.weight",
        "attn_norm.weight",
        "ffn_norm.weight",
        "blk.0.attn_norm.weight",
        "blk.0.ffn_norm.weight",
        *(f"blk.0.{name}" for name in norms),
    }


def test_json_and_back() -> None:
    found = config(architecture="gemma3", sliding_window=8, sliding_pattern=2)
    assert ModelConfig.from_json(found.to_json()) == found


@pytest.mark.parametrize("name", RANGES)
def test_numbers_out_of_range_are_refused(name: str) -> None:
    low, high = RANGES[name]
    for wrong in (low - 1, high + 1, True, "1", None, math.nan, math.inf):
        with pytest.raises(FormatError) as caught:
            config(**{name: wrong})
        assert caught.value.field == name


@pytest.mark.parametrize("name", CHOICES)
def test_unknown_choices_are_refused(name: str) -> None:
    with pytest.raises(FormatError, match=name):
        config(**{name: "other"})


def test_traits_are_fields() -> None:
    names = {field.name for field in fields(ModelConfig)}
    for architecture in ARCHITECTURES.values():
        assert architecture.traits.keys() <= names


def test_fields_without_a_default_are_those_of_the_first_version() -> None:
    """A new field needs a default, or old manifests can no longer be read."""
    assert {f.name for f in fields(ModelConfig) if f.default is MISSING} == FIRST.keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"n_kv_heads": 3},
        {"head_dim": 18},
        {"rope_dim": 15},
        {"rope_dim": 18},
        {"positions": "learned"},  # with a rope_dim
        {"positions": "alibi", "rope_dim": 0},  # without a bias
        {"alibi_max_bias": 8.0},
        {"rope_scaling": "yarn"},  # of what context?
        {"n_experts": 4},
        {"n_experts": 4, "n_experts_used": 5, "n_ff_expert": 8},
        {"n_experts": 4, "n_experts_used": 2, "n_ff_expert": 8, "gated": False},
        {"n_experts_used": 2},
        {"gated": False, "fused_gate_up": True},
        {"post_norm": "sum"},
        {"pre_norm": False},
        {"post_norm": "branch", "parallel_residual": True},
        {"causal": False},
        {"causal": False, "pooling": "last"},
        {"causal": False, "pooling": "cls", "sliding_window": 4},
        {"rope_scaling": "yarn", "rope_original_context": 64, "rope_theta": 1.0},
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        config(**changes)


def test_a_vector_may_be_a_matrix_of_one_row() -> None:
    vector = ExpectedTensor("ffn_gate_inp_shexp.weight", (64,))
    assert vector.fits((64,))
    assert vector.fits((1, 64))
    assert not vector.fits((64, 1))
    assert not vector.fits((2, 64))
    assert not ExpectedTensor("ffn_up.weight", (1, 64)).fits((64,))


def test_an_unknown_architecture_names_those_that_are_known() -> None:
    with pytest.raises(UnsupportedModelError, match="'mamba' is not supported"):
        config(architecture="mamba")


METADATA = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 96,
    "llama.attention.head_count": 4,
    "llama.context_length": 128,
    "llama.attention.layer_norm_rms_epsilon": 1e-6,
}
SHAPES = {"token_embd.weight": (100, 64), "blk.0.ffn_gate.weight": (96, 64)}


def read(**changes: Any) -> ModelConfig:
    changed = {f"llama.{key.replace('__', '.')}": value for key, value in changes.items()}
    return ModelConfig.from_gguf(METADATA | changed, SHAPES)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rope__scaling__type": "linear", "rope__scaling__factor": 4.0}, {"rope_scale": 0.25}),
        ({"rope__scale_linear": 4.0}, {"rope_scale": 0.25}),
        (
            {"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0},
            {"rope_scaling": "yarn", "rope_original_context": 128, "rope_scale": 0.25},
        ),
        ({"rope__scaling__type": "yarn", "rope__scaling__factor": 1.0}, {"rope_scaling": "none"}),
        ({"attention__head_count_kv": [2, 2]}, {"n_kv_heads": 2}),
        ({"attention__scale": 0.5}, {"attention_scale": 0.5}),
        ({"attention__sliding_window": 32}, {"sliding_window": 32, "sliding_pattern": 3}),
        ({"attention__sliding_window": 128}, {"sliding_window": 0}),
        (
            {"attention__sliding_window": 32, "attention__sliding_window_pattern": [True, False]},
            {"sliding_pattern": 2},
        ),
        ({"pooling_type": 3}, {"pooling": "last"}),
    ],
    ids=str,
)
def test_keys(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    found = read(**changes)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope__scaling__type": "dynamic"}, "rope.scaling.type is 'dynamic'"),
        ({"attention__head_count_kv": [2, 1]}, "head_count_kv differs between layers"),
        ({"attention__clamp_kqv": 8.0}, "clamp_kqv"),
        ({"attention__sliding_window_pattern": [False, True]}, "irregular"),
        ({"rope__dimension_count_swa": 8}, "rope.dimension_count_swa is not 16"),
        ({"attention__value_length": 8}, "value_length differs from key_length"),
        ({"expert_count": 4, "expert_gating_func": 2}, "expert_gating_func"),
        ({"pooling_type": 9}, "pooling_type"),
        ({"attention__sliding_window": 32, "rope__scale_linear": 2.0}, "with rotary scaling"),
        ({"novel_scale": 2.0}, "llama.novel_scale is 2.0: what it means"),
        ({"feed_forward_length": None}, "feed_forward_length at byte 0: is missing"),
        ({"rope__freq_base": "high"}, "rope.freq_base at byte 0: has an unexpected type"),
        ({"rope__scaling__type": "linear", "rope__scaling__factor": -1.0}, "must be positive"),
    ],
    ids=str,
)
def test_keys_that_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        read(**changes)
