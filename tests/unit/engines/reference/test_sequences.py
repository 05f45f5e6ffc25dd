"""Several sequences of the reference engine: apart, copied, shifted, saved; and embeddings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mlr.engines.base import Step
from mlr.engines.reference import ReferenceEngine
from mlr.errors import ContextLengthError, EngineError, RequestError
from tests.support.architectures import CASES
from tests.support.tensors import read_tensors

TOKENS = [int(token) for token in np.random.default_rng(3).integers(3, 300, 30)]
DECODERS = [name for name, case in CASES.items() if case.config.causal]
ENCODERS = [name for name in CASES if name not in DECODERS]


def engine_of(
    name: str, folder: Path, *, n_layers: int | None = None, sequences: int = 1
) -> ReferenceEngine:
    """In float64, with a context of 48."""
    case = CASES[name]
    if n_layers:
        case = replace(case, config=replace(case.config, n_layers=n_layers))
    config, tensors = read_tensors(case.build(folder))
    return ReferenceEngine.from_tensors(config, tensors, 48, "float64", sequences=sequences)


def logits(engine: ReferenceEngine, row: int = 0) -> NDArray[np.float32]:
    return np.array(engine.logits(row))


def test_sequences_do_not_see_each_other(tmp_path: Path) -> None:
    alone = [engine_of("gemma3", tmp_path) for _ in range(2)]
    both = engine_of("gemma3", tmp_path, sequences=2)
    alone[0].evaluate(TOKENS[:20])
    alone[1].evaluate(TOKENS[12:])
    both.evaluate_batch([Step(0, TOKENS[:9]), Step(1, TOKENS[12:20], "none")])
    both.evaluate_batch([Step(0, TOKENS[9:20]), Step(1, TOKENS[20:], "all")])
    assert [both.position(0), both.position(1)] == [20, 18]
    np.testing.assert_allclose(logits(both, 0), logits(alone[0]), rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits(both, 10), logits(alone[1]), rtol=0, atol=1e-5)


def test_what_does_not_fit_changes_no_sequence(tmp_path: Path) -> None:
    engine = engine_of("llama", tmp_path, sequences=2)
    with pytest.raises(ContextLengthError):
        engine.evaluate_batch([Step(0, TOKENS), Step(1, TOKENS * 2)])
    assert engine.position(0) == engine.position(1) == 0
    with pytest.raises(RequestError, match="no sequence 2"):
        engine.evaluate(TOKENS, sequence=2)


def test_a_fork_goes_on_by_itself(tmp_path: Path) -> None:
    engine, fresh = engine_of("llama", tmp_path, sequences=2), engine_of("llama", tmp_path)
    engine.evaluate(TOKENS)
    engine.fork(0, 1, 12)
    engine.evaluate(TOKENS[:3], sequence=1)
    fresh.evaluate(TOKENS[:12] + TOKENS[:3])
    np.testing.assert_allclose(logits(engine), logits(fresh), rtol=0, atol=1e-5)
    assert engine.position(0) == len(TOKENS)
    with pytest.raises(RequestError, match="cannot fork at 40"):
        engine.fork(0, 1, 40)


@pytest.mark.parametrize("name", [n for n in DECODERS if CASES[n].config.positions != "learned"])
def test_shifting_is_as_if_the_tokens_had_never_been(name: str, tmp_path: Path) -> None:
    """Of one layer, whose keys and values depend on nothing but their own token and position."""
    shifted, fresh = (engine_of(name, tmp_path, n_layers=1) for _ in range(2))
    shifted.evaluate(TOKENS[:25])
    shifted.shift(4, 7)
    assert shifted.position() == 18
    shifted.evaluate(TOKENS[25:])
    fresh.evaluate(TOKENS[:4] + TOKENS[11:])
    np.testing.assert_allclose(logits(shifted), logits(fresh), rtol=0, atol=1e-5)


def test_learned_positions_cannot_be_shifted(tmp_path: Path) -> None:
    engine = engine_of("gpt2", tmp_path)
    engine.evaluate(TOKENS)
    with pytest.raises(EngineError, match="learned positions"):
        engine.shift(4, 7)
    with pytest.raises(RequestError, match="cannot drop 30 tokens after 4"):
        engine.shift(4, 30)


def test_saved_and_restored(tmp_path: Path) -> None:
    engine, other = engine_of("gemma2", tmp_path, sequences=2), engine_of("gemma2", tmp_path)
    engine.evaluate(TOKENS[:20], sequence=1)
    data = engine.save(1)
    other.restore(data)
    assert other.position() == 20
    for each, sequence in ((engine, 1), (other, 0)):
        each.evaluate(TOKENS[20:], sequence=sequence)
    assert np.array_equal(logits(engine), logits(other))
    for wrong in (b"", data[:-1], data[:40] + b"?" + data[41:]):
        with pytest.raises(RequestError, match="not a sequence that was saved"):
            other.restore(wrong)
        assert other.position() == 0
    with pytest.raises(RequestError, match="not a sequence that was saved"):
        engine_of("llama", tmp_path).restore(data)


@pytest.mark.parametrize("name", [*ENCODERS, "qwen3-embedding"])
def test_embeddings(name: str, tmp_path: Path) -> None:
    engine = engine_of(name, tmp_path)
    texts = [TOKENS[:7], TOKENS, TOKENS[:1]]
    vectors = [np.array(vector) for vector in engine.embed(texts)]
    width = 1 if CASES[name].config.pooling == "rank" else 64
    assert [vector.shape for vector in vectors] == [(width,)] * 3
    np.testing.assert_array_equal(engine.embed([TOKENS])[0], vectors[1])
    if width > 1:
        assert [np.linalg.norm(vector) for vector in vectors] == pytest.approx([1.0] * 3, abs=1e-6)
    with pytest.raises(RequestError, match="empty text"):
        engine.embed([[]])
    with pytest.raises(ContextLengthError):
        engine.embed([TOKENS * 2])


def test_encoders_give_no_text_and_decoders_no_embeddings(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="encoder"):
        engine_of("bert", tmp_path).evaluate(TOKENS)
    with pytest.raises(RequestError, match="gives no embeddings"):
        engine_of("llama", tmp_path).embed([TOKENS])
