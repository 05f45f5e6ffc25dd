"""Generation: stop sequences, end reasons, options, and the turn-taking of streams."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlr
from mlr.errors import ContextLengthError, RequestError
from mlr.generation import GenerationOptions, StopMatcher


@given(
    text=st.text("abx", max_size=40),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    data=st.data(),
)
def test_text_up_to_the_first_stop_comes_out_however_it_is_cut(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    matcher = StopMatcher(tuple(stops))
    out = ""
    for piece in pieces:
        out += matcher.push(piece)
        if matcher.found:
            break
    else:
        out += matcher.flush()
    # one that is complete earlier wins: its end decides, because text comes from left to right
    hits = [(text.find(s), s) for s in stops if s in text]
    if not hits:
        assert out == text
        assert matcher.found is None
    else:
        assert matcher.found in stops
        assert text.startswith(out + matcher.found)


def test_text_that_cannot_begin_a_stop_is_not_held_back() -> None:
    matcher = StopMatcher(("END",))
    assert matcher.push("the E") == "the "
    assert matcher.push("N") == ""
    assert matcher.push("T") == "ENT"


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 0},
        {"max_tokens": -1},
        {"max_tokens": 1.5},
        {"max_tokens": True},
        {"stop": [""]},
        {"stop": [3]},
        {"stop": ["x"] * 17},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "1"},
        {"top_p": 1.1},
        {"top_k": -1},
        {"min_p": -1},
        {"repeat_penalty": 0},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        GenerationOptions.create(**options)  # type: ignore[arg-type]


def test_whole_numbers_are_numbers(tiny_bundle: Path) -> None:
    def options(kind: type[int] | type[float]) -> dict[str, Any]:
        values = {"temperature": 1, "top_p": 1, "min_p": 0, "repeat_penalty": 2}
        values |= {"frequency_penalty": 1, "presence_penalty": -1}
        return {name: kind(value) for name, value in values.items()}

    with mlr.load_sync(tiny_bundle) as model:
        whole, real = (
            model.generate("hello", seed=3, max_tokens=8, **options(kind)) for kind in (int, float)
        )
        assert whole.token_ids == real.token_ids
        assert model.generate("hello", temperature=0, max_tokens=3).token_ids


def test_an_unknown_option_is_named(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle) as model, pytest.raises(RequestError, match="temprature"):
        model.generate("a", temprature=1.0)


def test_a_completion_is_what_the_stream_gave(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle) as model:
        stream = model.stream("hello", max_tokens=20, temperature=1.0, seed=3)
        tokens = list(stream)
        completion = stream.completion
        assert completion is not None
        assert "".join(token.text for token in tokens) == completion.text
        assert [token.id for token in tokens][: len(completion.token_ids)] == completion.token_ids
        assert completion.prompt_token_ids == model.tokenize("hello")
        again = model.generate("hello", max_tokens=20, temperature=1.0, seed=3)
        assert again.token_ids == completion.token_ids
        timings = completion.timings
        assert timings.first_token_ms is not None
        assert timings.first_token_ms > 0
        assert timings.load_ms == model.info.load_ms > 0


def test_ids_as_a_prompt_are_taken_as_they_are(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle) as model:
        ids = model.tokenize("hello")
        assert model.generate(ids, max_tokens=3).token_ids == (
            model.generate("hello", max_tokens=3).token_ids
        )


def test_a_stop_sequence_ends_the_text_before_it(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle) as model:
        whole = model.generate("hello", max_tokens=40, temperature=1.0, seed=5).text
        stop = whole[8:11]
        cut = model.generate("hello", max_tokens=40, temperature=1.0, seed=5, stop=[stop])
        assert cut.text == whole[: whole.find(stop)]
        assert (cut.finish_reason, cut.stop_sequence) == ("stop", stop)


def test_a_full_context_ends_with_length(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle, context_length=24) as model:
        completion = model.generate([1, 5, 6, 7], max_tokens=100)
        if completion.finish_reason == "length":
            # the last token needs no place of its own: nothing is computed from it
            assert len(completion.token_ids) == 24 - 4 + 1
        assert model.generate([1] * 24, max_tokens=5).finish_reason in ("length", "stop")


def test_a_prompt_longer_than_the_context_is_refused(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle, context_length=24) as model:
        with pytest.raises(ContextLengthError, match="25 tokens and the context holds 24"):
            model.generate([1] * 25)
        with pytest.raises(RequestError, match="empty"):
            model.generate([])
        with pytest.raises(RequestError, match="not in the vocabulary"):
            model.generate([1, 10**6])
        assert model.generate([1, 2], max_tokens=1).token_ids


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed is freed by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_leaving_a_loop_gives_the_engine_to_the_next(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(tiny_bundle) as model:
            async for _ in model.stream("other", max_tokens=200):
                break
            following = model.generate("hello", max_tokens=3)
            assert (await asyncio.wait_for(following, 10)).token_ids

    asyncio.run(run())
    with mlr.load_sync(tiny_bundle) as model:
        for _ in model.stream("other", max_tokens=200):
            break
        assert model.generate("hello", max_tokens=3).token_ids


def test_where_nobody_could_wait_for_a_stream_that_is_left_open(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle) as model:
        stream = model.stream("other", max_tokens=200)
        first = next(stream)
        with pytest.raises(RequestError, match="every sequence belongs to a stream"):
            model.generate("hello", max_tokens=3)
        with pytest.raises(RequestError, match="every sequence belongs to a stream"):
            model.save_prompt("hello")
        rest = [token.id for token in stream]
        assert [first.id, *rest] == model.generate("other", max_tokens=200).token_ids
        next(other := model.stream("other", max_tokens=200))
        other.close()
        assert model.generate("hello", max_tokens=3).token_ids


def test_closing_a_stream_gives_the_engine_to_the_next(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(tiny_bundle) as model:
            reference = (await model.generate("hello", max_tokens=8)).token_ids
            stream = model.stream("other", max_tokens=200)
            async for _ in stream:
                break
            waiting = asyncio.create_task(model.generate("hello", max_tokens=8))
            await asyncio.sleep(0.05)
            assert not waiting.done(), "the stream still has the engine"
            await stream.aclose()
            assert (await waiting).token_ids == reference
            async for _ in model.stream("dropped", max_tokens=200):
                break
            gc.collect()
            assert (
                await asyncio.wait_for(model.generate("hello", max_tokens=8), 20)
            ).token_ids == (reference)

    asyncio.run(run())


def test_concurrent_generations_take_turns(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(tiny_bundle) as model:
            alone = [
                (await model.generate(p, max_tokens=10)).token_ids for p in ("one", "two", "three")
            ]
            together = await asyncio.gather(
                *(model.generate(p, max_tokens=10) for p in ("one", "two", "three"))
            )
            assert [c.token_ids for c in together] == alone

    asyncio.run(run())


def test_cancelling_a_generation_leaves_the_model_usable(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(tiny_bundle) as model:
            reference = (await model.generate("hello", max_tokens=8)).token_ids
            task = asyncio.create_task(model.generate("hello", max_tokens=400))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await model.generate("hello", max_tokens=8)).token_ids == reference

    asyncio.run(run())
