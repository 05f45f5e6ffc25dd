"""Both engines against transformers on PyTorch: every architecture, random weights.

transformers is the models' authors' own account of what they compute, and shares nothing with
GGUF. It and the reference engine compute in float64, but for transformers' norms and rotary angles,
which many of its models compute in float32 whatever their type: hence the tolerance, a few
float32 roundings of the logits' deviation after some layers (measured: up to 2e-6). The kernel
rounds what attention multiplies to 16 bits, which costs it up to 5e-3 of the deviation. What is
read wrong is off by more than 1e-1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlr.engines.reference import ReferenceEngine
from tests.support.convert.files import write_gguf
from tests.support.convert.models import MODELS, random_model
from tests.support.kernels import every_logits, open_kernel
from tests.support.tensors import read_tensors

pytestmark = pytest.mark.oracle

TOKENS = [int(token) for token in np.random.default_rng(7).integers(3, 300, 40)]
SECOND = 15  # where a second text begins for encoders that tell texts of a pair apart
EXACT, KERNEL = 1e-5, 1e-2


@pytest.mark.parametrize("name", MODELS)
def test_same_numbers(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    model = MODELS[name]
    module = random_model(name)
    given = {"input_ids": torch.tensor([TOKENS])}
    if hasattr(module.config, "type_vocab_size"):
        given["token_type_ids"] = (torch.arange(len(TOKENS)) >= SECOND).long()[None]
    with torch.no_grad():
        output = module(**given)
    path = write_gguf(tmp_path / "model.gguf", model, module)
    if model.head == "Model":
        hidden = output.last_hidden_state[0].numpy()
        vector = {1: hidden.mean(axis=0), 2: hidden[0], 3: hidden[-1]}[model.pooling]
        expected = vector / np.linalg.norm(vector)
    else:
        expected = output.logits[0].numpy()
    deviation = expected.std() or abs(expected).max()
    assert deviation > 0.05

    exact = ReferenceEngine.from_tensors(*read_tensors(path), len(TOKENS), "float64")
    ours = exact.embedding(TOKENS, SECOND) if model.pooling else exact.evaluate_all(TOKENS)
    assert np.abs(ours - expected).max() / deviation < EXACT
    with open_kernel(path, context_length=len(TOKENS)) as kernel:
        fast = (
            np.array(kernel.embed([TOKENS], seconds=[SECOND])[0])
            if model.pooling
            else every_logits(kernel, TOKENS)
        )
    assert np.abs(fast - expected).max() / deviation < KERNEL
