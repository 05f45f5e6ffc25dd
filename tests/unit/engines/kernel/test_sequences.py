"""Several sequences in one kernel: each gives the bits that it would give alone."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlr.engines.base import Sampling, Step, Wanted
from mlr.engines.kernel.engine import KernelEngine
from mlr.engines.kernel.instance import CacheType
from mlr.errors import ContextLengthError, EngineError, RequestError
from tests.support.kernels import last_logits, open_kernel
from tests.support.tiny_models import tiny_gguf

SEQUENCES = 3
CONTEXT = 194  # more than the ring of Gemma's sliding layers: a window of 16 and a pass of 128
TOKENS = [int(token) for token in np.random.default_rng(3).integers(3, 300, CONTEXT)]


@dataclass(frozen=True)
class Pair:
    """The engine under test, and one that evaluates one sequence from its beginning."""

    engine: KernelEngine
    alone: KernelEngine

    def expected(self, tokens: tuple[int, ...]) -> bytes:
        return _expected(self.alone, tokens)


@lru_cache(maxsize=4096)
def _expected(alone: KernelEngine, tokens: tuple[int, ...]) -> bytes:
    alone.truncate(0)
    alone.evaluate(tokens)
    return alone.logits().tobytes()


@pytest.fixture(scope="module", params=["gemma3", "llama", "gemma3 q8", "gemma3 2 threads"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    name = request.param.split()[0]
    path = tiny_gguf(tmp_path_factory.mktemp("models") / "m.gguf", architecture=name)
    kv_type: CacheType = "q8" if "q8" in request.param else "q16"
    threads = 2 if "threads" in request.param else 1
    with (
        open_kernel(
            path, context_length=CONTEXT, sequences=SEQUENCES, kv_type=kv_type, threads=threads
        ) as engine,
        open_kernel(path, context_length=CONTEXT, kv_type=kv_type) as alone,
    ):
        yield Pair(engine, alone)


sequence = st.integers(0, SEQUENCES - 1)
tokens = st.integers(1, 60).flatmap(
    lambda n: st.integers(0, CONTEXT - n).map(lambda at: TOKENS[at : at + n])
)
step = st.tuples(sequence, tokens, st.sampled_from(["last", "all", "none"]))
action = st.one_of(
    st.tuples(st.just("batch"), st.lists(step, min_size=1, max_size=4)),
    st.tuples(st.just("truncate"), sequence, st.integers(0, CONTEXT)),
    st.tuples(st.just("fork"), sequence, sequence, st.integers(0, CONTEXT)),
    st.tuples(st.just("save"), sequence),
    st.tuples(st.just("restore"), sequence),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=st.lists(action, min_size=3, max_size=20))
def test_any_interleaving_gives_what_each_sequence_gives_alone(
    pair: Pair, actions: list[tuple[object, ...]]
) -> None:
    engine = pair.engine
    held: list[list[int]] = [[] for _ in range(SEQUENCES)]
    saved: tuple[bytes, list[int]] | None = None
    for number in range(SEQUENCES):
        engine.truncate(0, number)
    for action in actions:
        match action:
            case ("batch", list(parts)):
                _batch(pair, held, parts)
            case ("truncate", int(which), int(limit)):
                position = min(limit, len(held[which]))
                if _done(lambda w=which, p=position: engine.truncate(p, w)):
                    del held[which][position:]
            case ("fork", int(source), int(target), int(limit)):
                position = min(limit, len(held[source]))
                if _done(lambda s=source, t=target, p=position: engine.fork(s, t, p)):
                    held[target] = held[source][:position]
            case ("save", int(which)):
                saved = engine.save(which), list(held[which])
            case ("restore", int(which)) if saved is not None and saved[1]:
                engine.restore(saved[0], which)
                held[which] = list(saved[1])
        assert [engine.position(number) for number in range(SEQUENCES)] == list(map(len, held))
    for number in range(SEQUENCES):
        if 0 < len(held[number]) < CONTEXT:
            _batch(pair, held, [(number, [7], "last")])


def _done(act: object) -> bool:
    """Whether a sliding window still held what was needed."""
    assert callable(act)
    try:
        act()
    except EngineError:
        return False
    return True


def _batch(pair: Pair, held: list[list[int]], parts: list[tuple[int, list[int], Wanted]]) -> None:
    steps = []
    budget, outputs = pair.engine.batch, pair.engine.outputs
    lengths = [len(own) for own in held]
    for which, ids, wanted in parts:
        ids = ids[: min(budget, CONTEXT - lengths[which])]
        if wanted == "all":
            ids = ids[:outputs]
        rows = {"all": len(ids), "last": 1, "none": 0}[wanted]
        if not ids or rows > outputs:
            continue
        budget -= len(ids)
        outputs -= rows
        lengths[which] += len(ids)
        steps.append(Step(which, ids, wanted))
    pair.engine.evaluate_batch(steps)
    row = 0
    for step in steps:
        for index, token in enumerate(step.tokens):
            held[step.sequence].append(token)
            if step.wanted == "all" or (step.wanted == "last" and index + 1 == len(step.tokens)):
                ours = pair.engine.logits(row).tobytes()
                assert ours == pair.expected(tuple(held[step.sequence]))
                row += 1


def test_what_a_batch_cannot_hold_is_refused_whole(pair: Pair) -> None:
    engine = pair.engine
    for number in range(SEQUENCES):
        engine.truncate(0, number)
    for steps, error in (
        ([Step(0, TOKENS[:70]), Step(1, TOKENS[:70])], RequestError),  # more than a pass
        ([Step(0, TOKENS[:9], "all")], RequestError),  # more rows than there are
        ([Step(0, [1, 2]), Step(3, [1])], RequestError),
        ([Step(0, [1, 2]), Step(1, [301])], RequestError),
        ([Step(0, [1, 2]), Step(-1, [1])], RequestError),
    ):
        with pytest.raises(error):
            engine.evaluate_batch(steps)
        assert engine.position(0) == engine.position(1) == 0
    engine.evaluate(TOKENS[: CONTEXT - 1], sequence=1)
    with pytest.raises(ContextLengthError):
        engine.evaluate_batch([Step(1, [5]), Step(1, [6])])
    assert engine.position(1) == CONTEXT - 1


def test_what_is_refused_leaves_what_the_last_pass_gave(pair: Pair) -> None:
    """Whoever calls the kernel: the engine in Python would refuse before."""
    engine, instance = pair.engine, pair.engine._instance
    assert instance is not None
    for sequence in range(SEQUENCES):
        engine.truncate(0, sequence)
    engine.evaluate(TOKENS[:5])
    engine.configure(Sampling())
    likeliest = engine.sample()
    engine.truncate(4)
    engine.evaluate_batch([Step(0, [TOKENS[4], likeliest, likeliest], "all")])
    engine.configure(Sampling(presence_penalty=1.9, repeat_penalty=9.0))

    def answers() -> list[object]:
        return [(engine.sample(0, row), engine.logits(row).tobytes()) for row in range(3)]

    before = answers()
    assert engine.sample(0, 0) == likeliest, "row 0 has not seen what was appended after it"
    for words, owners, code in (
        ([7, 7, 10**6], [1, 1, 1], -8),
        ([7, 7, 7], [1, 1, SEQUENCES], -10),
        ([7] * CONTEXT, [1] * CONTEXT, -10),
    ):
        for address, values in (
            (engine._tokens_address, words),
            (engine._sequences_address, owners),
            (engine._wanted_address, [1] * len(words)),
        ):
            instance.write(address, struct.pack(f"<{len(values)}I", *values)[: 4 * engine.batch])
        assert instance.call("mlr_eval", min(len(words), engine.batch)) == code
        assert answers() == before
    engine._written.clear()
    assert instance.call("mlr_position", 1) == 0
    engine.configure(Sampling())


def test_each_sequence_samples_with_its_own_settings(pair: Pair) -> None:
    engine = pair.engine
    for number in range(2):
        engine.truncate(0, number)
    engine.evaluate_batch([Step(0, TOKENS[:10]), Step(1, TOKENS[:10])])
    hot = Sampling(temperature=5.0, seed=1)
    engine.configure(Sampling(), 0)
    engine.configure(hot, 1)
    drawn = [engine.sample(1, 1) for _ in range(10)]
    assert [engine.sample(0, 0) for _ in range(3)] == [
        int(np.argmax(np.array(engine.logits(0))))
    ] * 3
    assert len(set(drawn)) > 1
    engine.configure(hot, 1)
    assert [engine.sample(1, 1) for _ in range(10)] == drawn


@pytest.mark.parametrize("cut", [0, 1, 31, 32, 100, -1])
def test_a_saved_sequence_that_is_cut_is_refused(pair: Pair, cut: int) -> None:
    engine = pair.engine
    engine.truncate(0, 0)
    engine.evaluate(TOKENS[:20], sequence=0)
    saved = engine.save(0)
    for damaged in (saved[:cut], saved + b"x"):
        with pytest.raises(RequestError):
            engine.restore(damaged, 1)
        assert engine.position(1) == 0
        engine.evaluate([1, 2], sequence=1)
    engine.restore(saved, 1)
    engine.evaluate([9], sequence=1)
    assert engine.logits().tobytes() == pair.expected((*TOKENS[:20], 9))


@pytest.mark.parametrize("at", range(0, 36, 4))
def test_a_damaged_header_is_refused(pair: Pair, at: int) -> None:
    """Magic, version, model, position, first cell, cache type, reserved, the first token."""
    engine = pair.engine
    engine.truncate(0, 0)
    engine.evaluate(TOKENS[:20], sequence=0)
    saved = bytearray(engine.save(0))
    for word in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes([saved[at] ^ 1, 7, 7, 7])):
        saved[at : at + 4] = word
        with pytest.raises(RequestError):
            engine.restore(bytes(saved), 0)
        assert engine.position(0) == 0
    assert engine.position(1) >= 0
    engine.evaluate([1, 2, 3], sequence=0)
    assert engine.logits().tobytes() == pair.expected((1, 2, 3))


def test_parts_of_a_saved_sequence_come_in_order(pair: Pair) -> None:
    engine = pair.engine
    engine.truncate(0, 0)
    engine.evaluate(TOKENS[:20], sequence=0)
    saved = engine.save(0)
    instance, staging = engine._instance, engine._staging
    assert instance is not None
    instance.write(staging, saved[:100])
    assert instance.call("mlr_restore", 1, 0.0, 100) == 0
    tokens = engine._tokens_address
    instance.write(tokens, (5).to_bytes(4, "little"))
    instance.write(engine._sequences_address, (1).to_bytes(4, "little"))
    assert instance.call("mlr_eval", 1) == -7, "it is not whole yet"
    assert instance.call("mlr_restore", 1, 101.0, 50) == -4
    assert instance.call("mlr_restore", 1, 0.5, 50) == -4
    assert instance.call("mlr_truncate", 1, 0) == 0
    assert instance.call("mlr_restore", 1, 100.0, 50) == -4
    assert instance.call("mlr_eval", 1) == 0


def test_another_model_or_cache_type_is_refused(tmp_path: Path) -> None:
    one = tiny_gguf(tmp_path / "one.gguf", architecture="llama")
    other = tiny_gguf(tmp_path / "other.gguf", architecture="llama", n_layers=3)
    with (
        open_kernel(one) as engine,
        open_kernel(other) as deeper,
        open_kernel(one, kv_type="q8") as small,
        open_kernel(one, context_length=19) as short,
        open_kernel(one, context_length=20) as enough,
    ):
        engine.evaluate(TOKENS[:20])
        saved = engine.save()
        for wrong in (deeper, small, short):
            with pytest.raises(RequestError, match="not a saved sequence"):
                wrong.restore(saved)
        enough.restore(saved)
        assert enough.position() == 20


@pytest.mark.parametrize("kv_type", ["q16", "q8"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_shifting_moves_what_follows(tmp_path: Path, architecture: str, kv_type: CacheType) -> None:
    """In one layer a token's key and value depend on the token and its position alone, so a
    shifted sequence must be what the tokens left give, but for keys being rounded twice: to 16
    bits (2^-17 of a key's norm) or to 8 (0.5% of a key, 2% in the worst case), which moves logits
    by about as much, the worst of 301 by a few times that. Keys left where they were would move
    them by more than their deviation.
    """
    path = tiny_gguf(tmp_path / "m.gguf", architecture=architecture, quantization="F32", n_layers=1)
    with open_kernel(path, context_length=CONTEXT, kv_type=kv_type) as engine:
        left = TOKENS[:4] + TOKENS[124:174]
        engine.evaluate(left)
        engine.evaluate([9])
        expected = last_logits(engine)
        engine.truncate(0)
        engine.evaluate(TOKENS[:174])
        engine.shift(4, 120)
        assert engine.position() == len(left)
        engine.evaluate([9])
        error = np.abs(last_logits(engine) - expected).max() / expected.std()
        assert error < (0.001 if kv_type == "q16" else 0.1)
        # a second time, and on to where rings wrap around
        engine.evaluate(TOKENS[20:70])
        engine.shift(0, 45)
        engine.evaluate([11])
        shifted = last_logits(engine)
        engine.truncate(0)
        engine.evaluate([*[*left, 9, *TOKENS[20:70]][45:], 11])
        error = np.abs(last_logits(engine) - shifted).max() / shifted.std()
        assert error < (0.001 if kv_type == "q16" else 0.1)


@pytest.mark.parametrize("kv_type", ["q16", "q8"])
def test_calls_between_passes_leave_the_logits(tmp_path: Path, kv_type: CacheType) -> None:
    """They share memory with what a pass computes; the last pass has only bounds of them."""
    path = tiny_gguf(tmp_path / "m.gguf", quantization="Q8_0", positive_head=True, n_vocab=16384)
    with open_kernel(path, context_length=CONTEXT, kv_type=kv_type, sequences=2) as engine:

        def evaluate() -> None:
            for number in range(2):
                engine.configure(Sampling(), number)
                engine.truncate(0, number)
            engine.evaluate_batch([Step(0, TOKENS[:30]), Step(1, TOKENS[30:50])])

        evaluate()
        expected = [engine.logits(row).tobytes() for row in range(2)]
        evaluate()
        evaluate()
        engine.shift(2, 5)
        engine.configure(Sampling(temperature=3.0, seed=1), 1)
        first = engine.sample(1, 1)
        assert [engine.logits(row).tobytes() for row in range(2)] == expected
        engine.shift(4, 10)
        engine.configure(Sampling(temperature=3.0, seed=1), 1)
        assert engine.sample(1, 1) == first
        assert engine.sample(0, 0) == int(np.argmax(np.frombuffer(expected[0], "<f4")))
        assert [engine.logits(row).tobytes() for row in range(2)] == expected


def test_saving_and_restoring_end_what_the_last_pass_computed(tmp_path: Path) -> None:
    """Saved bytes lie where the logits were, or the bounds of them that chose the largest."""
    path = tiny_gguf(tmp_path / "m.gguf", quantization="Q8_0", positive_head=True, n_vocab=16384)
    with open_kernel(path, context_length=CONTEXT, sequences=2) as engine:

        def evaluate(number: int) -> None:
            for _ in range(2):  # after logits were asked for, the next pass computes them all
                engine.truncate(0, number)
                engine.evaluate(TOKENS[:30], sequence=number)

        def is_ended() -> None:
            for ask in (engine.sample, engine.logits, lambda: engine.top(3)):
                with pytest.raises(RequestError):
                    ask()
            with pytest.raises(RequestError):
                engine.logprob(1)

        evaluate(0)
        token, top = engine.sample(), engine.top(5)
        expected = engine.logits().tobytes()
        evaluate(0)
        saved = engine.save(0)
        is_ended()
        evaluate(0)
        engine.restore(saved, 1)
        is_ended()
        for wrong in (b"x" * len(saved), saved[:20]):
            evaluate(0)
            with pytest.raises(RequestError):
                engine.restore(wrong, 1)
            is_ended()
        evaluate(0)
        assert (engine.sample(), engine.top(5)) == (token, top)
        assert engine.logits().tobytes() == expected
        assert engine.save(0) == saved


def test_alternatives_stay_until_the_next_are_asked_for(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "m.gguf", quantization="Q8_0", n_vocab=16384)
    with open_kernel(path, context_length=CONTEXT) as engine:
        engine.evaluate(TOKENS[:30])
        engine.top(256)
        instance = engine._loaded("reading")
        found = instance.read(engine._alternatives, 8 * 256)
        engine.configure(Sampling(temperature=2.0, seed=1))
        engine.sample()
        engine.save()
        engine.evaluate(TOKENS[30:100])
        assert instance.read(engine._alternatives, 8 * 256) == found


def test_shifting_refuses_what_would_be_wrong(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path / "m.gguf", architecture="gemma3")
    with open_kernel(path, context_length=CONTEXT) as engine:
        engine.evaluate(TOKENS[:184])
        with pytest.raises(EngineError):
            engine.shift(164, 10)  # the window of 16 would reach what the ring has lost
        for keep, discard in ((0, 185), (185, 0), (60, 125)):
            with pytest.raises(RequestError):
                engine.shift(keep, discard)
        assert engine.position() == 184
        engine.shift(0, 0)
        engine.evaluate([5])


def test_eight_bits_take_half_the_memory_and_cost_little(tmp_path: Path) -> None:
    """Blocks of 32 normally distributed values have a largest of 2.1 deviations on average, so
    steps of 2.1/127 of one and errors of 1/sqrt(12) of that: 0.5% of keys and values. Scores err
    by as much of themselves, and logits by a little more, as the 0.01% of 16 bits is much less.
    """
    path = tiny_gguf(tmp_path / "m.gguf", architecture="llama", quantization="F32")

    def run(kv_type: CacheType) -> tuple[NDArray[np.float32], int]:
        with open_kernel(path, context_length=CONTEXT, kv_type=kv_type) as engine:
            engine.evaluate(TOKENS)
            return last_logits(engine), engine.memory.kv_cache

    (wide, wide_bytes), (narrow, narrow_bytes) = run("q16"), run("q8")
    assert narrow_bytes < 0.55 * wide_bytes
    error = float(np.sqrt(np.mean((wide - narrow) ** 2)) / wide.std())
    assert 0.0005 < error < 0.02
