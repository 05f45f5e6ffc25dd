"""The reference engine's own promises: positions, limits, errors, and loading from a bundle."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import mlr
from mlr.bundle.reader import open_bundle
from mlr.engines.base import Sampling
from mlr.engines.reference import ReferenceEngine, open_engine
from mlr.errors import (
    CapacityError,
    ContextLengthError,
    EngineError,
    FormatError,
    MissingDependencyError,
    RequestError,
)
from mlr.formats.model_config import ModelConfig
from mlr.hosts import current
from mlr.hosts.cpython import CPythonHost
from tests.support.tensors import Tensors, read_tensors
from tests.support.tiny_models import tiny_gguf

PROMPT = [1, *range(3, 40)]
Model = tuple[ModelConfig, Tensors]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("models")
    return read_tensors(tiny_gguf(folder / "gemma3.gguf", architecture="gemma3"))


def open_reference(
    model: Model, context_length: int = 128, dtype: str = "float64"
) -> ReferenceEngine:
    config, tensors = model
    return ReferenceEngine.from_tensors(config, tensors, context_length, dtype)


def logits_of(engine: ReferenceEngine) -> NDArray[np.float32]:
    """A copy of the last logits, as an array."""
    return np.array(engine.logits(), copy=True)


def test_a_prompt_gives_the_same_logits_however_it_is_divided(model: Model) -> None:
    whole, pieces = open_reference(model, 400), open_reference(model, 400)
    tokens = [*PROMPT * 8]  # more than one pass of 256
    whole.evaluate(tokens)
    pieces.evaluate(tokens[:5])
    logits = pieces.evaluate_all(tokens[5:])
    assert logits.shape == (len(tokens) - 5, whole.vocabulary_size)
    assert whole.position() == pieces.position() == len(tokens)
    np.testing.assert_allclose(logits_of(whole), logits_of(pieces), rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits[-1], logits_of(pieces), rtol=0, atol=1e-5)


def test_truncate_takes_back(model: Model) -> None:
    engine = open_reference(model)
    engine.evaluate([*PROMPT[:10], 77])
    expected = logits_of(engine)
    engine.truncate(0)
    engine.evaluate(PROMPT)
    engine.truncate(10)
    assert engine.position() == 10
    with pytest.raises(EngineError, match="evaluate tokens first"):
        engine.sample()
    engine.evaluate([77])
    np.testing.assert_allclose(logits_of(engine), expected, rtol=0, atol=1e-5)
    with pytest.raises(RequestError, match="cannot truncate to 12"):
        engine.truncate(12)


def test_float32_is_near_float64(model: Model) -> None:
    engines = [open_reference(model, dtype=dtype) for dtype in ("float32", "float64")]
    for engine in engines:
        engine.evaluate(PROMPT)
    small, large = (logits_of(engine) for engine in engines)
    assert small.dtype == np.float32
    assert 0 < np.abs(small - large).max() < 1e-3
    assert engines[0].memory.weights * 2 == engines[1].memory.weights
    assert engines[0].memory.kv_cache == 4 * 2 * 7 * 128 * 128
    assert "float32" in engines[0].detail


def test_what_does_not_fit_is_refused_and_changes_nothing(model: Model) -> None:
    engine = open_reference(model, context_length=8)
    engine.evaluate(PROMPT[:6])
    with pytest.raises(ContextLengthError, match=r"3 tokens do not fit.*holds 8.*6 are used"):
        engine.evaluate([3, 4, 5])
    for token in (-1, 301):
        with pytest.raises(RequestError, match=f"token id {token} is outside the vocabulary"):
            engine.evaluate([5, token])
    assert engine.position() == 6
    engine.evaluate([])
    assert engine.position() == 6


def test_logits_can_be_left_out(model: Model) -> None:
    whole, parts = open_reference(model), open_reference(model)
    whole.evaluate(PROMPT)
    parts.evaluate(PROMPT[:9], logits=False)
    with pytest.raises(EngineError, match="no logits yet"):
        parts.logits()
    parts.evaluate(PROMPT[9:])
    np.testing.assert_allclose(logits_of(whole), logits_of(parts), rtol=0, atol=1e-5)


def test_greedy_sampling_and_closing(model: Model) -> None:
    engine = open_reference(model)
    engine.evaluate(PROMPT)
    engine.configure(Sampling())
    assert engine.sample() == int(logits_of(engine).argmax())
    assert engine.position() == len(PROMPT)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed; load it again"):
        engine.evaluate([5])


def test_wrong_tensors_and_arguments(model: Model) -> None:
    config, tensors = model
    without = {name: value for name, value in tensors.items() if name != "blk.3.ffn_up.weight"}
    with pytest.raises(FormatError, match=r"blk\.3\.ffn_up\.weight.*is missing"):
        ReferenceEngine.from_tensors(config, without, 8)
    with pytest.raises(FormatError, match="has shape"):
        ReferenceEngine.from_tensors(replace(config, n_ff=64), tensors, 8)
    with pytest.raises(RequestError, match="float32 or float64"):
        open_reference(model, dtype="float16")
    with pytest.raises(RequestError, match="between 1 and 512, got 513"):
        open_reference(model, context_length=513)


def test_loaded_from_a_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    with mlr.load_sync(tiny_bundle, engine="reference", context_length=64) as loaded:
        assert loaded.info.engine == "reference"
        completion = loaded.generate(PROMPT[:9], max_tokens=12)
        again = loaded.generate(PROMPT[:9], max_tokens=12)
    assert completion.token_ids == again.token_ids

    path = tiny_gguf(tmp_path / "tiny.gguf", n_layers=1, context_length=8192)
    engine = open_reference(read_tensors(path), 64, "float32")
    tokens: list[int] = []
    engine.evaluate(PROMPT[:9])
    while len(tokens) < len(completion.token_ids):
        tokens.append(engine.sample())
        engine.evaluate(tokens[-1:])
    assert list(completion.token_ids) == tokens


def test_a_model_that_does_not_fit_is_refused_before_it_is_read(tiny_bundle: Path) -> None:
    class SmallHost(CPythonHost):
        """A machine with a megabyte to spare."""

        def memory_available(self) -> int:
            return 1_000_000

    async def load(context_length: int | None) -> None:
        bundle = await open_bundle(tiny_bundle, current())
        variant = bundle.manifest.variants[0]
        await open_engine(bundle, variant, SmallHost(), context_length=context_length)

    with pytest.raises(CapacityError, match=r"float32.*1 MB are free; use the kernel engine"):
        asyncio.run(load(None))
    with pytest.raises(RequestError, match="the model's 8192"):
        asyncio.run(load(9000))


def test_without_numpy_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['numpy'] = None\n"
        "import mlr.errors\n"
        "try:\n"
        "    import mlr.engines.reference\n"
        "except mlr.errors.MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'mlr[reference]'" in run.stdout, run.stderr
    assert issubclass(MissingDependencyError, ImportError)
