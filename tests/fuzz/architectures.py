"""Random models in the kernel: against the reference engine, and bit for bit with itself.

The tolerances are those of `tests/parity/engines/test_kernel_reference.py`, where the reasons are,
but for float models: all that rounding costs them instead of 0.6 times that. Some have little of
it, and each of several layers meets edges anew.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlr.engines.base import Step
from mlr.engines.kernel.abi import PAGE
from mlr.engines.kernel.descriptor import build_descriptor
from mlr.engines.kernel.engine import KernelEngine
from mlr.engines.kernel.instance import KernelOptions
from mlr.engines.kernel.wasmtime import BUILDS, WIDE, WasmtimeKernel, plan
from mlr.engines.reference import ReferenceEngine
from mlr.formats.model_config import ModelConfig
from tests.fuzz.random_model import RandomTensor, random_config, random_tensors

__all__ = ["architecture_fuzzer"]

CUTS = (1, 2, 3, 5, 6, 7, 16, 33, 64, 65, 130)
LENGTHS = (1, 5, 70, 131, 260)


def architecture_fuzzer(folder: Path) -> Callable[[random.Random], None]:
    """A round: a random model says what the reference engine says, in every build, at every thread
    count and cut of the prompt; truncating, forking and restoring change nothing.
    """

    def fuzz(random: random.Random) -> None:
        config = random_config(random)
        floats = random.random() < 0.3
        model = Model(config, random_tensors(random, config, floats=floats))
        length = 120 if config.n_experts else min(random.choice(LENGTHS), config.context_length)
        tokens = [random.randrange(config.n_vocab) for _ in range(length)]
        if config.pooling == "none":
            _check_logits(model, tokens, floats, random)
        else:
            _check_embeddings(model, tokens, random)

    return fuzz


class Model:
    """A configuration with tensors, opened by either engine."""

    def __init__(self, config: ModelConfig, tensors: Sequence[RandomTensor]) -> None:
        self.config, self._tensors = config, tensors

    def reference(self, *, kernel_rounding: bool) -> ReferenceEngine:
        """In float64."""
        tensors = {t.name: (t.type, t.shape, t.data) for t in self._tensors}
        context = self.config.context_length
        return ReferenceEngine.from_tensors(
            self.config, tensors, context, "float64", kernel_rounding=kernel_rounding
        )

    @contextmanager
    def kernel(self, build: str, threads: int, sequences: int = 1) -> Iterator[KernelEngine]:
        """Under wasmtime."""
        options = KernelOptions(self.config.context_length, threads, sequences)
        needs = plan(build_descriptor(self.config, self._tensors), options, build)
        kernel = WasmtimeKernel(-(-needs.total_bytes // PAGE), build)
        kernel.layout(needs.descriptor, options)
        for tensor in self._tensors:
            kernel.feed(tensor.offset, tensor.data)
        kernel.start(threads)
        engine = KernelEngine(kernel, needs, self.config)
        try:
            yield engine
        finally:
            engine.close()


def _rms(x: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(x * x)))


def _usual(x: NDArray[np.float64]) -> float:
    """Of most tokens: where two experts are nearly as probable, a rounding decides between them."""
    return float(np.median(np.sqrt(np.mean(x * x, axis=-1))))


def _check_logits(model: Model, tokens: list[int], floats: bool, random: random.Random) -> None:
    exact = model.reference(kernel_rounding=False).evaluate_all(tokens)
    rounded = model.reference(kernel_rounding=True).evaluate_all(tokens)
    rows = []
    with model.kernel("relaxed", 1) as engine:
        for token in tokens:
            engine.evaluate([token])
            rows.append(np.array(engine.logits()))
    ours, size = np.array(rows), _usual if model.config.n_experts else _rms
    explained = size(rounded - exact) + 3e-7 * size(exact)
    many = len(tokens) >= 70  # of few, the one may lie on an edge that the other does not
    assert size(ours - exact) < (1.3 if many else 3) * explained
    if floats and many:
        assert size(ours - rounded) < explained
    for build in (*BUILDS, WIDE):
        with model.kernel(build, random.choice((1, 2, 4)), sequences=2) as engine:
            _check_bits(engine, tokens, rows[-1].tobytes(), random)


def _check_bits(
    engine: KernelEngine, tokens: list[int], expected: bytes, random: random.Random
) -> None:
    """However `tokens` get into a sequence, beside whatever else, their logits are the same."""
    sequence, other, length = *random.sample((0, 1), 2), len(tokens)
    while engine.position(sequence) < length:
        start = engine.position(sequence)
        count = min(random.choice(CUTS), engine.batch)
        steps = [Step(sequence, tokens[start : start + count], "last")]
        if random.random() < 0.2 and engine.position(other) < 50 and count < 60:
            steps.insert(random.randrange(2), Step(other, tokens[:3], "none"))
        engine.evaluate_batch(steps)
        if random.random() < 0.5:  # greedy: the next pass looks for the largest logit only
            assert engine.sample(sequence) == int(np.argmax(engine.logits()))
    assert engine.logits().tobytes() == expected
    last, saved = max(0, length - random.randint(1, 6)), engine.save(sequence)
    engine.truncate(last, sequence)
    engine.fork(sequence, other, last)
    for target in (sequence, other):
        engine.evaluate(tokens[last:], sequence=target)
        assert engine.logits().tobytes() == expected
        assert engine.sample(target) == int(np.argmax(engine.logits()))
    engine.restore(saved, other)
    assert engine.save(other) == saved
    engine.truncate(length - 1, other)
    engine.evaluate(tokens[-1:], sequence=other)
    assert engine.logits().tobytes() == expected


def _check_embeddings(model: Model, tokens: list[int], random: random.Random) -> None:
    texts = [tokens[:1], tokens[: random.randint(1, len(tokens))], tokens]
    seconds = [random.randint(0, len(text)) for text in texts]
    typed = seconds if model.config.token_types > 1 else [None] * len(texts)
    exact, rounded = (
        np.concatenate(
            [engine.embedding(text, second) for text, second in zip(texts, typed, strict=True)]
        )
        for engine in (model.reference(kernel_rounding=rounding) for rounding in (False, True))
    )
    embeddings = []
    for build in (*BUILDS, WIDE):
        with model.kernel(build, random.choice((1, 2, 4))) as engine:
            packed = engine.embed(texts, seconds=seconds)
            alone = engine.embed(texts[-1:], seconds=seconds[-1:])
            assert bytes(alone[0]) == bytes(packed[-1])
            embeddings.append(np.concatenate([np.array(row) for row in packed]))
    assert len({embedding.tobytes() for embedding in embeddings}) == 1
    explained = _rms(rounded - exact) + 3e-7 * _rms(exact)
    assert _rms(embeddings[0] - exact) < 3 * explained  # few numbers, as above
