"""Guessing by look-up: what is found, and how many passes it saves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlr
from mlr.speculation.lookup import look_up
from tests.support.metering import metered

OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"temperature": 1.0, "seed": 4},
    "penalized": {"temperature": 2.0, "seed": 1, "repeat_penalty": 1.3},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("prompt", [[1, *range(3, 73)], [1, *[7, 8, 9, 10, 11] * 20]])
def test_guessing_changes_nothing_but_the_number_of_passes(
    tiny_bundle: Path, sliding_bundle: Path, prompt: list[int], options: dict[str, Any]
) -> None:
    for bundle in (tiny_bundle, sliding_bundle):
        with mlr.load_sync(bundle, threads=1) as model:
            _, passes, _ = metered(model._model)
            plain = model.generate(prompt, max_tokens=120, **options)
            count = len(passes)
            passes.clear()
            guessed = model.generate(prompt, max_tokens=120, speculate="lookup", **options)
            assert guessed.token_ids == plain.token_ids
            assert len(passes) <= count
            assert plain.timings.guessed_tokens == 0


@pytest.mark.parametrize("options", [{}, {"repeat_penalty": 1.05}], ids=["greedy", "penalized"])
def test_repetition_takes_fewer_passes(tiny_bundle: Path, options: dict[str, Any]) -> None:
    """Greedy decoding of random weights ends in a loop, which is easy to guess."""
    options = options | {"max_tokens": 300}

    async def run() -> None:
        async with await mlr.load(tiny_bundle, threads=1, sequences=2) as model:
            plain = await model.generate([1, 2], speculate=None, **options)
            _, passes, _ = metered(model)
            both = await asyncio.gather(
                *(model.generate([1, 2], speculate="lookup", **options) for _ in "ab")
            )
            assert [c.token_ids for c in both] == [plain.token_ids] * 2
            assert len(passes) < 0.6 * len(plain.token_ids), len(plain.token_ids)
            for completion in both:
                timings = completion.timings
                assert 100 < timings.confirmed_tokens <= timings.guessed_tokens

    asyncio.run(run())


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 8))
def test_what_is_looked_up_has_followed_the_same_end(tokens: list[int], count: int) -> None:
    found, size = look_up(tokens, count)
    assert len(found) <= count
    text = "".join(map(str, tokens))
    ends = [text[-size:] for size in (4, 3, 2) if len(text) > size and text[-size:] in text[:-1]]
    if found:
        assert len(ends[0]) == size
        assert ends[0] + "".join(map(str, found)) in text
    else:
        assert not ends
        assert size == 0
