"""A draft model: what is generated with it and without it is the same, and how much is computed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlr
from mlr.engines.base import Step
from mlr.engines.kernel.engine import KernelEngine
from mlr.errors import CapacityError, EngineError, RequestError
from mlr.model import Model
from mlr.speculation.draft import MAX_PADDING
from tests.support.bundles import package
from tests.support.metering import metered

Case = tuple[list[int], dict[str, Any]]

JSON = {"type": "json_object"}
PROMPT = [1, *range(3, 40)]
SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"temperature": 1.0, "seed": 11},
    "top": {"temperature": 1.3, "top_k": 20, "top_p": 0.9, "min_p": 0.02, "seed": 2**64 - 1},
    "penalized": {"repeat_penalty": 1.3, "frequency_penalty": 0.4, "repeat_last_n": 20},
    "sampled and penalized": {"temperature": 0.8, "seed": 5, "presence_penalty": 0.6},
    "log probabilities": {"logprobs": 3},
    "JSON": {"response_format": JSON, "temperature": 0.8, "seed": 4},
}


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes bundles of tiny models by name; `cut` is the first layer of `whole`."""
    folder = tmp_path_factory.mktemp("drafts")
    shapes: dict[str, dict[str, Any]] = {
        "whole": {"n_layers": 2, "context_length": 4096},
        "cut": {"n_layers": 1, "context_length": 4096},
        "other": {"n_layers": 1, "seed": 7},
        "short": {"n_layers": 2, "context_length": 64},
        "padded": {"n_layers": 1, "n_vocab": 301 + MAX_PADDING},
        "larger": {"n_layers": 1, "n_vocab": 302 + MAX_PADDING},
        "sliding": {"architecture": "gemma3"},
    }

    def make(name: str) -> Path:
        if not (folder / name).exists():
            package(folder, name=name, **shapes[name])
        return folder / name

    return make


def generated(bundle: Path, prompt: Sequence[int], options: dict[str, Any]) -> mlr.Completion:
    """What a model without a draft gives."""
    with mlr.load_sync(bundle, threads=1) as model:
        return model.generate(list(prompt), **options)


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_a_draft_that_is_the_model_is_always_right(
    bundles: Callable[..., Path], options: dict[str, Any]
) -> None:
    options = options | {"max_tokens": 100}
    expected = generated(bundles("whole"), PROMPT, options)
    with mlr.load_sync(bundles("whole"), draft=bundles("whole"), threads=1) as model:
        _, passes, drafted = metered(model._model)
        completion = model.generate(PROMPT, **options)
    assert completion.token_ids == expected.token_ids
    assert completion.tokens == expected.tokens
    assert completion.finish_reason == expected.finish_reason
    count, timings = len(expected.token_ids), completion.timings
    if count > 20:  # a JSON value may be short
        # eight tokens a pass, once it is known how good the draft is
        assert len(passes) < count / 3
        assert timings.guessed_tokens > 0.6 * count
        assert timings.confirmed_tokens >= timings.guessed_tokens - 1
        assert len(drafted) >= timings.guessed_tokens
    assert sum(len(step.tokens) for steps in drafted for step in steps) < 2 * (count + len(PROMPT))


@pytest.mark.parametrize("draft", ["cut", "other", "short", "padded"])
@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_a_draft_changes_nothing(
    bundles: Callable[..., Path], draft: str, options: dict[str, Any]
) -> None:
    options = options | {"max_tokens": 100}
    expected = generated(bundles("whole"), PROMPT, options)
    with mlr.load_sync(bundles("whole"), draft=bundles(draft), threads=1) as model:
        _, passes, drafted = metered(model._model)
        completion = model.generate(PROMPT, **options)
        assert completion.tokens == expected.tokens
        assert drafted
        assert len(passes) <= len(expected.token_ids) + 1
        # and again, on what both have in their caches
        assert model.generate(PROMPT, **options).tokens == expected.tokens
        count = len(drafted)
        assert model.generate(PROMPT, speculate=None, **options).tokens == expected.tokens
        assert model.generate(PROMPT, speculate="lookup", **options).tokens == expected.tokens
        assert len(drafted) == count


def test_guesses_that_are_sometimes_right_gain(bundles: Callable[..., Path]) -> None:
    with mlr.load_sync(bundles("whole"), draft=bundles("cut"), threads=1) as model:
        meter, passes, _ = metered(model._model, draft=0.02, each=0.05)
        completion = model.generate(PROMPT, max_tokens=300)
        timings = completion.timings
        assert 0 < timings.confirmed_tokens < timings.guessed_tokens
        assert len(passes) == 1 + 299 - timings.confirmed_tokens
        assert meter.seconds < 0.95 * 300 * 1.05


@pytest.mark.parametrize("cost", [0.1, 0.3, 1.0, 3.0])
def test_a_bad_draft_costs_little(bundles: Callable[..., Path], cost: float) -> None:
    with mlr.load_sync(bundles("whole"), draft=bundles("other"), threads=1) as model:
        meter, _, drafted = metered(model._model, draft=cost)
        model.generate(PROMPT, max_tokens=500)
        plain = 500 * 1.1 + len(PROMPT) * 0.1
        assert drafted
        assert meter.seconds < (1.12 if cost < 3 else 1.25) * plain
        # the next generations begin with what this one has shown
        before, count = meter.seconds, len(drafted)
        for start in range(10):
            model.generate([1, 50 + start, 60], max_tokens=20)
        assert meter.seconds - before < 1.05 * 10 * 20 * 1.15
        assert len(drafted) - count < 40


def test_a_dear_draft_reads_no_long_prompt_for_a_short_answer(
    bundles: Callable[..., Path],
) -> None:
    with mlr.load_sync(bundles("whole"), draft=bundles("whole"), threads=1) as model:
        _, _, drafted = metered(model._model)
        model.generate([1, *[5, 6, 7, 8] * 100], max_tokens=100)
        assert sum(len(step.tokens) for steps in drafted for step in steps) > 400
        drafted.clear()
        model.generate([1, *[9, 10, 11, 12] * 200], max_tokens=3)
        assert sum(len(step.tokens) for steps in drafted for step in steps) <= 64


@pytest.mark.parametrize("draft", ["cut", "sliding", "whole"])
def test_a_full_context_and_sliding_windows(bundles: Callable[..., Path], draft: str) -> None:
    target = bundles("sliding" if draft == "sliding" else "whole")
    for on_full in ("stop", "shift"):
        options = {"max_tokens": 200, "on_full": on_full}
        results = []
        for chosen in (None, bundles(draft)):
            with mlr.load_sync(target, threads=1, context_length=120, draft=chosen) as model:
                metered(model._model)
                results.append([model.generate(PROMPT[:n], **options).token_ids for n in (30, 9)])
        assert results[0] == results[1]


def test_a_draft_with_a_shorter_context_stops_guessing(bundles: Callable[..., Path]) -> None:
    with mlr.load_sync(bundles("whole"), draft=bundles("short"), threads=1) as model:
        assert model.info.draft is not None
        assert model.info.draft.context_length == 64
        _, passes, drafted = metered(model._model)
        ids = model.generate(PROMPT, max_tokens=100).token_ids
        assert drafted
        assert len(PROMPT) + len(ids) > 100
        assert all(len(steps[0].tokens) == 1 for steps in passes[-60:])


def test_several_at_once(bundles: Callable[..., Path]) -> None:
    prompts = [PROMPT[: 5 * n] for n in range(1, 7)]

    async def run() -> list[tuple[Case, mlr.Completion]]:
        async with await mlr.load(
            bundles("whole"), draft=bundles("cut"), threads=1, sequences=3
        ) as model:
            _, passes, drafted = metered(model, draft=0.02, each=0.02)
            cases = [(p, o | {"max_tokens": 40}) for p in prompts for o in SETTINGS.values()]
            done = await asyncio.gather(*(model.generate(p, **o) for p, o in cases))
            assert max(len(steps) for steps in passes) == 3
            assert {step.sequence for steps in drafted for step in steps} == {0, 1, 2}
            assert sum(completion.timings.confirmed_tokens for completion in done) > 0
        return list(zip(cases, done, strict=True))

    for (prompt, options), completion in asyncio.run(run())[::5]:
        assert completion.tokens == generated(bundles("whole"), prompt, options).tokens


def test_the_reference_engine_takes_a_draft_too(bundles: Callable[..., Path]) -> None:
    for options in (SETTINGS["greedy"], SETTINGS["sampled and penalized"]):
        options = options | {"max_tokens": 30}
        results = []
        for draft in (None, bundles("whole")):
            with mlr.load_sync(bundles("whole"), engine="reference", draft=draft) as model:
                metered(model._model)
                results.append(model.generate(PROMPT, **options))
        assert results[0].token_ids == results[1].token_ids
        assert results[1].timings.confirmed_tokens > 15


@dataclass(frozen=True)
class Pair:
    """A model with a draft, and its equal without."""

    drafted: mlr.SyncModel
    plain: mlr.SyncModel


@pytest.fixture(scope="module")
def pair(bundles: Callable[..., Path]) -> Iterator[Pair]:
    """Two that stay loaded; the context is short enough to fill."""
    options = {"threads": 1, "context_length": 150}
    with (
        mlr.load_sync(bundles("whole"), draft=bundles("cut"), **options) as drafted,
        mlr.load_sync(bundles("whole"), **options) as plain,
    ):
        metered(drafted._model, draft=0.01, each=0.01)
        yield Pair(drafted, plain)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    prompt=st.lists(st.integers(0, 300), min_size=1, max_size=100),
    options=st.fixed_dictionaries(
        {"max_tokens": st.integers(1, 90)},
        optional={
            "temperature": st.floats(0, 3),
            "top_k": st.integers(0, 50),
            "top_p": st.floats(0.05, 1),
            "min_p": st.floats(0, 0.5),
            "repeat_penalty": st.floats(0.8, 2),
            "frequency_penalty": st.floats(-1, 1),
            "repeat_last_n": st.integers(0, 100),
            "logprobs": st.integers(0, 3),
            "stop": st.lists(st.sampled_from(["a", "e", "th", "er "]), max_size=2),
            "on_full": st.sampled_from(["stop", "shift"]),
            "response_format": st.just(JSON),
        },
    ),
    seed=st.integers(0, 2**64 - 1),
)
def test_with_and_without_a_draft(
    pair: Pair, prompt: list[int], options: dict[str, Any], seed: int
) -> None:
    with_draft = pair.drafted.generate(prompt, seed=seed, **options)
    without = pair.plain.generate(prompt, seed=seed, **options)
    assert with_draft.text == without.text
    assert with_draft.tokens == without.tokens
    assert with_draft.finish_reason == without.finish_reason
    assert with_draft.stop_sequence == without.stop_sequence


def test_another_vocabulary_is_refused_by_its_first_difference(
    bundles: Callable[..., Path], bert_bundle: Path
) -> None:
    first = r"another vocabulary: token 0 is '\[PAD\]' there and '<unk>' in the model"
    with pytest.raises(RequestError, match=first):
        mlr.load_sync(bundles("whole"), draft=bert_bundle)
    with pytest.raises(RequestError, match="another vocabulary: 430 tokens, and the model 301"):
        mlr.load_sync(bundles("whole"), draft=bundles("larger"))
    with pytest.raises(RequestError, match="another vocabulary: 301 tokens, and the model 430"):
        mlr.load_sync(bundles("larger"), draft=bundles("whole"))


def test_tokens_that_only_the_model_has(bundles: Callable[..., Path]) -> None:
    """The draft cannot read them, so it keeps silent."""
    with mlr.load_sync(bundles("padded"), draft=bundles("whole"), threads=1) as model:
        _, _, drafted = metered(model._model)
        for start in range(20):
            ids = model.generate([1, 5, start], max_tokens=20).token_ids
            assert ids == model.generate([1, 5, start], max_tokens=20, speculate=None).token_ids
        assert drafted
        drafted.clear()
        model.generate([1, 400, 5], max_tokens=20)
        assert not drafted


def test_models_that_make_embeddings_have_no_part_in_it(
    bundles: Callable[..., Path], bert_bundle: Path
) -> None:
    with pytest.raises(RequestError, match="the model makes embeddings"):
        mlr.load_sync(bundles("whole"), draft=bundles("cut"), pooling="last")
    with pytest.raises(RequestError, match="the model makes embeddings"):
        mlr.load_sync(bert_bundle, draft=bert_bundle)


def test_the_memory_limit_holds_for_both(bundles: Callable[..., Path]) -> None:
    loaded: list[mlr.LoadProgress] = []
    with mlr.load_sync(bundles("whole"), draft=bundles("cut"), threads=1) as model:
        assert model.info.draft is not None
        assert model.info.draft.memory.total < model.info.memory.total
        both = model.info.memory.total + model.info.draft.memory.total
    enough = both + 2 * 2**20  # the kernels' own data
    with mlr.load_sync(bundles("whole"), draft=bundles("cut"), threads=1, memory_limit=enough):
        pass
    with pytest.raises(CapacityError, match=r"beside the draft model's [\d.]+ MB the limit"):
        mlr.load_sync(
            bundles("whole"),
            draft=bundles("cut"),
            threads=1,
            memory_limit=both - 1,
            on_progress=loaded.append,
        )
    assert not loaded


def test_a_draft_that_does_not_load_frees_the_model(
    bundles: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = package(tmp_path, name="broken", n_layers=1)
    shard = next((broken / "shards").iterdir())
    shard.write_bytes(bytes(shard.stat().st_size))
    closed: list[KernelEngine] = []
    close = KernelEngine.close

    def closing(engine: KernelEngine) -> None:
        closed.append(engine)
        close(engine)

    monkeypatch.setattr(KernelEngine, "close", closing)
    with pytest.raises(mlr.MlrError, match=r"(?i)integrity|sha|hash|match|damaged"):
        mlr.load_sync(bundles("whole"), draft=broken)
    assert len(closed) == 1


def test_closing_cancelling_and_failing(bundles: Callable[..., Path]) -> None:
    async def run() -> None:
        model = await mlr.load(bundles("whole"), draft=bundles("whole"), threads=1)
        metered(model)
        stream = model.stream(PROMPT, max_tokens=3000)
        for _ in range(5):
            await anext(stream)
        await stream.aclose()
        task = asyncio.create_task(model.generate(PROMPT, max_tokens=3000))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        expected = (await model.generate(PROMPT, max_tokens=30, speculate=None)).token_ids
        assert (await model.generate(PROMPT, max_tokens=30)).token_ids == expected
        await _failing(model)
        running = asyncio.create_task(model.generate(PROMPT, max_tokens=3000))
        await asyncio.sleep(0.05)
        assert model._draft is not None
        draft = model._draft.engine
        await model.close()
        with pytest.raises(EngineError, match="closed"):
            await running
        with pytest.raises(EngineError, match="closed"):
            draft.evaluate([1])
        await model.close()

    asyncio.run(run())


async def _failing(model: Model) -> None:
    """A draft that breaks is heard of, and the model goes on without it."""
    assert model._draft is not None
    engine = model._draft.engine
    evaluate = engine.evaluate_batch

    def fail(steps: Sequence[Step]) -> None:
        raise EngineError("the draft is broken")

    engine.evaluate_batch = fail  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="the draft is broken"):
        await model.generate(PROMPT, max_tokens=30)
    assert (await model.generate(PROMPT, max_tokens=30, speculate=None)).token_ids
    engine.evaluate_batch = evaluate  # type: ignore[method-assign]
    assert (await model.generate(PROMPT, max_tokens=30)).token_ids


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.8, "seed": 3}], ids=["greedy", "sampled"]
)
def test_the_demo_model_drafts_for_itself(demo_bundle: Path, options: dict[str, Any]) -> None:
    prompt = "The three primary colours are"
    with mlr.load_sync(demo_bundle, draft=demo_bundle, threads=2, context_length=128) as model:
        _, passes, _ = metered(model._model)
        plain = model.generate(prompt, max_tokens=24, speculate=None, **options)
        assert len(passes) == len(plain.tokens)
        passes.clear()
        completion = model.generate(prompt, max_tokens=24, **options)
        assert completion.tokens == plain.tokens
        assert completion.timings.confirmed_tokens == completion.timings.guessed_tokens > 8
        assert len(passes) < 0.6 * len(plain.tokens)
