"""The reference engine against transformers on PyTorch: every architecture, random weights.

transformers is the models' authors' own account of what they compute, and shares nothing with
GGUF. Both sides compute in float64, but for transformers' norms and rotary angles, which many of
its models compute in float32 whatever their type: hence the tolerance, a few float32 roundings
of the logits' deviation after some layers (measured: up to 2e-6). What is read wrong is off by
1e-2 or more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlr.engines.reference import ReferenceEngine
from tests.support.convert.files import write_gguf
from tests.support.convert.models import MODELS, random_model
from tests.support.tensors import read_tensors

pytestmark = pytest.mark.oracle

TOKENS = [int(token) for token in np.random.default_rng(7).integers(3, 300, 40)]
TOLERANCE = 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_same_numbers(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    model = MODELS[name]
    module = random_model(name)
    with torch.no_grad():
        output = module(torch.tensor([TOKENS]))
    path = write_gguf(tmp_path / "model.gguf", model, module)
    engine = ReferenceEngine.from_tensors(*read_tensors(path), len(TOKENS), "float64")
    if model.head == "Model":
        hidden = output.last_hidden_state[0].numpy()
        vector = {1: hidden.mean(axis=0), 2: hidden[0], 3: hidden[-1]}[model.pooling]
        expected = vector / np.linalg.norm(vector)
        ours = engine.embedding(TOKENS)
    elif model.head == "ForSequenceClassification":
        expected, ours = output.logits[0].numpy(), engine.embedding(TOKENS)
    else:
        expected, ours = output.logits[0].numpy(), engine.evaluate_all(TOKENS)
    deviation = expected.std() or abs(expected).max()
    assert np.isfinite(ours).all()
    assert deviation > 0.05
    assert np.abs(ours - expected).max() / deviation < TOLERANCE
