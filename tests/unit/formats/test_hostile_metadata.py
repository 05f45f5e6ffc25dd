"""Metadata that is broken on purpose gives an error of its own, or a valid configuration."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.errors import FormatError, UnsupportedModelError
from mlr.formats.architectures import SUPPORTED_ARCHITECTURES
from mlr.formats.expected_tensors import expected_tensors
from mlr.formats.model_config import ModelConfig

KEYS = {
    "block_count": 2,
    "embedding_length": 64,
    "feed_forward_length": 96,
    "context_length": 128,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "attention.key_length": 16,
    "attention.layer_norm_rms_epsilon": 1e-6,
    "attention.layer_norm_epsilon": 1e-6,
    "attention.sliding_window": 32,
    "attention.sliding_window_pattern": 2,
    "attention.max_alibi_bias": 8.0,
    "attention.scale": 0.5,
    "attention.causal": True,
    "rope.freq_base": 1e4,
    "rope.dimension_count": 16,
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 64,
    "rope.scaling.yarn_beta_fast": 32.0,
    "expert_count": 4,
    "expert_used_count": 2,
    "expert_feed_forward_length": 32,
    "embedding_scale": 2.0,
    "residual_scale": 2.0,
    "logit_scale": 2.0,
    "hidden_activation": "relu2",
    "use_parallel_residual": True,
    "pooling_type": 1,
}
VALUES: list[Any] = [
    *(0, 1, -1, 2**31, 2**63, 0.0, -0.0, 1e-300, 1e308, float("nan"), float("inf"), True, False),
    *("", "linear", "yarn", "x" * 1000, [], [1, 1], [1, 2], [True, False], [[]], None),
]


@pytest.mark.parametrize("architecture", SUPPORTED_ARCHITECTURES)
@settings(max_examples=60, deadline=None)
@given(
    wrong=st.dictionaries(st.sampled_from(list(KEYS)), st.sampled_from(VALUES), max_size=3),
    left_out=st.sets(st.sampled_from(list(KEYS)), max_size=25),
    shape=st.sampled_from([(100, 64), (0, 64), (64,), (1, 2, 3)]),
)
def test_an_error_or_a_configuration(
    architecture: str, wrong: dict[str, Any], left_out: set[str], shape: tuple[int, ...]
) -> None:
    keys = {key: value for key, value in KEYS.items() if key not in left_out} | wrong
    metadata = {f"{architecture}.{key}": value for key, value in keys.items()}
    metadata["general.architecture"] = architecture
    try:
        config = ModelConfig.from_gguf(metadata, {"token_embd.weight": shape})
    except (FormatError, UnsupportedModelError):
        return
    assert ModelConfig.from_json(config.to_json()) == config
    assert all(size > 0 for tensor in expected_tensors(config) for size in tensor.shape)
