"""The reference engine against llama.cpp: files as they are found are read as it reads them.

transformers says what is right; llama.cpp says what the keys and tensors of a GGUF file mean. It
computes in float32, and GELU from a table of float16 values, the tanh form where the models have
the exact one: about 5e-4 of each activation, and 4e-3 of the logits' deviation after some layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlr.engines.reference import ReferenceEngine
from tests.support.architectures import CASES
from tests.support.llama_oracle import F32, logits_at_every_token, open_model
from tests.support.tensors import read_tensors

pytestmark = pytest.mark.oracle

TOKENS = [int(token) for token in np.random.default_rng(7).integers(3, 300, 40)]
OTHERWISE = {
    "bitnet-b1.58": "is the name that Microsoft's own fork gives",
    "exaone4-window": "has windows there when it has 64 layers",
    "llama-window": "the windows of Mistral's first model are left out there",
    "phi3": "windows are switched off there, with a warning",
    "starcoder2": "windows are left out there",
}


@pytest.mark.parametrize("name", [name for name in CASES if name not in OTHERWISE])
def test_same_numbers(name: str, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    case = CASES[name]
    path = case.build(tmp_path)
    engine = ReferenceEngine.from_tensors(*read_tensors(path), 64, "float64")
    expected: NDArray[Any]
    if case.config.pooling == "none":
        expected, ours = logits_at_every_token(path, TOKENS, 64), engine.evaluate_all(TOKENS)
    else:
        width = 1 if case.config.pooling == "rank" else case.config.n_embd
        expected, ours = _embedding(path, width, case.config.causal), engine.embedding(TOKENS)
        expected /= 1 if width == 1 else np.linalg.norm(expected)
    tolerance = 5e-3 if case.config.activation.startswith("gelu") else 1e-5
    assert np.abs(ours - expected).max() / (expected.std() or 1.0) < tolerance


def _embedding(path: Path, width: int, causal: bool) -> NDArray[np.float64]:
    """The embedding of TOKENS, (width,), pooled and not normalized."""
    import llama_cpp

    options: dict[str, Any] = {"embedding": True, "type_k": F32, "type_v": F32}
    with open_model(path, 64, n_batch=64, n_ubatch=64, **options) as model:
        model._batch.reset()
        model._batch.add_sequence(TOKENS, 0, True)
        (model._ctx.decode if causal else model._ctx.encode)(model._batch)
        vector = llama_cpp.llama_get_embeddings_seq(model.ctx, 0)
        return np.ctypeslib.as_array(vector, shape=(width,)).astype(np.float64)
