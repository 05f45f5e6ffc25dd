"""Several generations at once: what each gives, who waits for whom, and what is evaluated."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import mlr
from mlr.engines.base import Step
from mlr.errors import EngineError, RequestError
from mlr.generation import TokenStream
from mlr.model import Model
from mlr.scheduler import PREFILL_BESIDE_DECODING

PROMPTS = [[1, *range(3, 3 + n)] for n in (5, 70, 23, 150, 2, 64)]
OPTIONS: list[dict[str, Any]] = [
    {"max_tokens": 30},
    {"max_tokens": 12, "temperature": 1.0, "seed": 4},
    {"max_tokens": 25, "temperature": 2.0, "seed": 1, "repeat_penalty": 1.3},
]


@asynccontextmanager
async def recording(bundle: Path, **options: Any) -> AsyncIterator[tuple[Model, list[list[Step]]]]:
    """A model, and the passes that its engine is asked for."""
    model = await mlr.load(bundle, threads=1, **options)
    passes: list[list[Step]] = []
    evaluate = model.engine.evaluate_batch

    def record(steps: Sequence[Step]) -> None:
        passes.append(list(steps))
        evaluate(steps)

    model.engine.evaluate_batch = record  # type: ignore[method-assign]
    try:
        yield model, passes
    finally:
        await model.close()


async def alone(bundle: Path, prompt: list[int], options: dict[str, Any]) -> list[int]:
    """What a model that does nothing else gives."""
    async with await mlr.load(bundle, threads=1) as model:
        return (await model.generate(prompt, **options)).token_ids


@pytest.mark.parametrize("sequences", [1, 2, 4])
def test_generations_give_what_they_give_alone(tiny_bundle: Path, sequences: int) -> None:
    async def run() -> None:
        cases = [(prompt, options) for prompt in PROMPTS for options in OPTIONS]
        async with recording(tiny_bundle, sequences=sequences) as (model, passes):
            together = await asyncio.gather(*(model.generate(p, **o) for p, o in cases))
            largest = max(len(steps) for steps in passes)
            assert largest == sequences, "they did run together"
        for (prompt, options), completion in zip(cases[::4], together[::4], strict=True):
            assert completion.token_ids == await alone(tiny_bundle, prompt, options)

    asyncio.run(run())


def test_a_sliding_window_changes_nothing(sliding_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(sliding_bundle, threads=1, sequences=2) as model:
            for _ in range(2):  # the second time prefixes are there, or have been lost by rings
                done = await asyncio.gather(*(model.generate(p, max_tokens=9) for p in PROMPTS))
                for prompt, completion in zip(PROMPTS, done, strict=True):
                    expected = await alone(sliding_bundle, prompt, {"max_tokens": 9})
                    assert completion.token_ids == expected

    asyncio.run(run())


def test_a_long_prompt_does_not_hold_up_those_who_decode(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with recording(tiny_bundle, sequences=2) as (model, passes):
            stream = model.stream([1, 2, 3], max_tokens=60)
            await anext(stream)
            passes.clear()
            long = asyncio.create_task(model.generate([1] * 400, max_tokens=1))
            async for _ in stream:
                pass
            shared = [steps for steps in passes if len(steps) == 2]
            assert len(shared) > 15
            for first, second in shared:
                assert len(first.tokens) == 1
                assert len(second.tokens) <= PREFILL_BESIDE_DECODING
            await long

    asyncio.run(run())


def test_prompts_share_a_pass_fairly(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with recording(tiny_bundle, sequences=2) as (model, passes):
            await asyncio.gather(
                model.generate([1, *range(3, 203)], max_tokens=1),
                model.generate([2, *range(3, 23)], max_tokens=1),
            )
            assert [len(step.tokens) for step in passes[0]] == [64, 21]  # half a pass

    asyncio.run(run())


def test_one_who_does_not_read_stops_only_himself(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with recording(tiny_bundle, sequences=2) as (model, passes):
            lazy = model.stream([1, 2, 3], max_tokens=500)
            await anext(lazy)
            assert (await model.generate([1, 5, 6], max_tokens=40)).token_ids
            evaluated = sum(len(s.tokens) for steps in passes for s in steps if s.sequence == 0)
            assert evaluated <= 3 + 2, "one token ahead at most"
            # and goes on where he was
            rest = [token.id async for token in lazy]
            assert rest[:20] == (await alone(tiny_bundle, [1, 2, 3], {"max_tokens": 21}))[1:]

    asyncio.run(run())


def test_closing_and_cancelling_free_a_sequence_at_once(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(tiny_bundle, threads=1, sequences=2) as model:
            streams = [model.stream([1, n], max_tokens=5000) for n in (3, 4)]
            for stream in streams:
                await anext(stream)
            waiting = asyncio.create_task(model.generate([1, 9], max_tokens=3))
            await asyncio.sleep(0.05)
            assert not waiting.done(), "both sequences are taken"
            await streams[0].aclose()
            assert (await asyncio.wait_for(waiting, 10)).token_ids
            task = asyncio.create_task(model.generate([1, 8], max_tokens=5000))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await asyncio.wait_for(model.generate([1, 9], max_tokens=3), 10)).token_ids
            # one who is cancelled while he waits leaves the line
            second = model.stream([1, 7], max_tokens=5000)
            await anext(second)
            gone = asyncio.create_task(model.generate([1, 6], max_tokens=3))
            await asyncio.sleep(0.01)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await second.aclose()
            assert (await asyncio.wait_for(model.generate([1, 9], max_tokens=3), 10)).token_ids
            await streams[1].aclose()

    asyncio.run(run())


def test_a_shared_prefix_is_evaluated_once(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with recording(tiny_bundle) as (model, passes):
            prompt = [1, *range(3, 203)]
            first = await model.generate(prompt, max_tokens=8)
            assert first.timings.cached_tokens == 0
            passes.clear()
            again = await model.generate(prompt, max_tokens=8)
            assert again.token_ids == first.token_ids
            assert again.timings.cached_tokens == len(prompt) - 1
            assert sum(len(step.tokens) for step in passes[0]) == 1
            # a conversation: what was said, what was answered, and what is asked next
            longer = [*prompt, *first.token_ids, 5, 6, 7]
            third = await model.generate(longer, max_tokens=8)
            assert third.timings.cached_tokens >= len(prompt) + len(first.token_ids) - 1
            assert third.token_ids == await alone(tiny_bundle, longer, {"max_tokens": 8})
            other = await model.generate([2, 3], max_tokens=2)
            assert other.timings.cached_tokens == 0

    asyncio.run(run())


def test_a_prefix_in_use_is_forked(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(tiny_bundle, threads=1, sequences=3) as model:
            system = [1, *range(3, 103)]
            first = model.stream([*system, 5], max_tokens=100)
            await anext(first)
            second = await model.generate([*system, 6, 7], max_tokens=8)
            assert second.timings.cached_tokens == len(system)
            assert second.token_ids == await alone(tiny_bundle, [*system, 6, 7], {"max_tokens": 8})
            ids = [token.id async for token in first]
            assert ids == (await alone(tiny_bundle, [*system, 5], {"max_tokens": 100}))[1:]
            # a few tokens in common are no reason to give up what another sequence holds
            third = await model.generate([1, 3, 4, 200], max_tokens=2)
            assert third.timings.cached_tokens == 0

    asyncio.run(run())


def test_an_engine_that_fails_tells_all_and_the_next_too(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(tiny_bundle, threads=1, sequences=2) as model:

            def fail(steps: Sequence[Step]) -> None:
                raise EngineError("broken")

            evaluate = model.engine.evaluate_batch
            model.engine.evaluate_batch = fail  # type: ignore[method-assign]
            answers = await asyncio.gather(
                *(model.generate([1, n], max_tokens=5) for n in (3, 4, 5)), return_exceptions=True
            )
            assert [str(answer) for answer in answers] == ["broken"] * 3
            model.engine.evaluate_batch = evaluate  # type: ignore[method-assign]
            assert (await model.generate([1, 3], max_tokens=5)).token_ids

    asyncio.run(run())


def test_one_that_cannot_begin_hears_why(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(tiny_bundle, threads=1) as model:

            def fail(position: int, sequence: int = 0) -> None:
                raise EngineError("broken")

            truncate = model.engine.truncate
            model.engine.truncate = fail  # type: ignore[method-assign]
            answers = asyncio.gather(
                *(model.generate([1, n], max_tokens=5) for n in (3, 4)), return_exceptions=True
            )
            assert [str(answer) for answer in await asyncio.wait_for(answers, 10)] == ["broken"] * 2
            model.engine.truncate = truncate  # type: ignore[method-assign]
            assert (await model.generate([1, 3], max_tokens=5)).token_ids

    asyncio.run(run())


def test_closing_while_a_generation_is_on_its_way_to_a_sequence(tiny_bundle: Path) -> None:
    async def run() -> None:
        model = await mlr.load(tiny_bundle, threads=1)
        truncate = model.engine.truncate
        on_its_way, closing = threading.Event(), threading.Event()

        def wait(position: int, sequence: int = 0) -> None:
            on_its_way.set()
            closing.wait(10)
            truncate(position, sequence)

        model.engine.truncate = wait  # type: ignore[method-assign]
        # a prompt of several passes: none of them is to come
        running = asyncio.create_task(model.generate([1] * 1000, max_tokens=3))
        await asyncio.to_thread(on_its_way.wait, 10)
        closed = asyncio.create_task(model.close())
        await asyncio.sleep(0.01)
        closing.set()
        await closed
        with pytest.raises(EngineError, match="closed"):
            await asyncio.wait_for(running, 10)

    asyncio.run(run())


def test_a_stream_may_be_closed_by_another_task(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(tiny_bundle, threads=1) as model:
            stream = model.stream([1, 2, 3], max_tokens=5000)
            waiting = model.stream([1, 4, 5], max_tokens=5000)

            async def read(tokens: TokenStream) -> int:
                return len([token async for token in tokens])

            readers = [asyncio.create_task(read(tokens)) for tokens in (stream, waiting)]
            await asyncio.sleep(0.05)
            await waiting.aclose()
            await stream.aclose()
            counts = await asyncio.wait_for(asyncio.gather(*readers), 10)
            assert 0 < counts[0] < 5000
            assert counts[1] == 0, "it was still in line"
            assert stream.completion is waiting.completion is None
            assert (await asyncio.wait_for(model.generate([1, 9], max_tokens=3), 10)).token_ids

    asyncio.run(run())


def test_closing_the_model_ends_generations(tiny_bundle: Path) -> None:
    async def run() -> None:
        model = await mlr.load(tiny_bundle, threads=1)
        running = asyncio.create_task(model.generate([1, 2], max_tokens=5000))
        waiting = asyncio.create_task(model.generate([1, 2], max_tokens=5000))
        await asyncio.sleep(0.05)
        await model.close()
        for task in (running, waiting):
            with pytest.raises(EngineError, match="closed"):
                await task
        with pytest.raises(EngineError, match="closed"):
            await model.generate([1, 2])
        await model.close()

    asyncio.run(run())


@pytest.mark.parametrize("bundle", ["tiny_bundle", "sliding_bundle"])
def test_a_full_context_can_be_shifted(bundle: str, request: pytest.FixtureRequest) -> None:
    async def run() -> None:
        path = request.getfixturevalue(bundle)
        async with await mlr.load(path, threads=1, context_length=120) as model:
            for start in range(3, 60):
                ids = [1, *range(start, start + 57)]
                stopped = await model.generate(ids, max_tokens=400)
                if stopped.finish_reason == "length":
                    break
            common = len(stopped.token_ids)
            assert common == 120 - len(ids) + 1, "the last token needs no place"
            shifted = await model.generate(ids, max_tokens=400, on_full="shift")
            assert shifted.token_ids[:common] == stopped.token_ids
            assert len(shifted.token_ids) > common + 1
            # what a shifted context holds is nobody's prefix
            again = await model.generate(ids, max_tokens=8)
            assert again.timings.cached_tokens == 0
            assert again.token_ids == stopped.token_ids[:8]

    asyncio.run(run())


@pytest.mark.parametrize(
    "options", [{"on_full": "wrap"}, {"speculate": "magic"}, {"speculate": True}]
)
def test_options_that_there_are_not(tiny_bundle: Path, options: dict[str, Any]) -> None:
    with mlr.load_sync(tiny_bundle) as model, pytest.raises(RequestError):
        model.generate("a", **options)


def test_what_uses_the_engine_itself_does_so_between_passes(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with recording(tiny_bundle) as (model, passes):

            def look() -> tuple[int, int]:
                before = len(passes)
                time.sleep(0.05)
                return before, len(passes)

            stream = model.stream([1, 2], max_tokens=60)
            first = await anext(stream)
            rest = asyncio.create_task(_ids(stream))
            before, after = await model._scheduler.exclusively(look)
            assert before == after
            expected = await alone(tiny_bundle, [1, 2], {"max_tokens": 60})
            assert [first.id, *await rest] == expected

    asyncio.run(run())


async def _ids(stream: mlr.TokenStream) -> list[int]:
    return [token.id async for token in stream]
