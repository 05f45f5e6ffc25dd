"""A prompt's KV cache as bytes: restored, it is not evaluated again and changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

import mlr
from mlr.errors import ContextLengthError, EngineError, RequestError
from tests.support.bundles import package

PROMPT = [1, *range(3, 103)]
LONGER = [*PROMPT, 7, 8, 9]


@pytest.mark.parametrize("engine", ["kernel", "reference"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_another_load_goes_on_from_it(architecture: str, engine: str, tmp_path: Path) -> None:
    """gemma3 has windows of 16: of its sliding layers the last positions alone are saved."""
    bundle = package(tmp_path, architecture=architecture, n_vocab=301)
    options: dict[str, Any] = {"engine": engine, "context_length": 200}
    with mlr.load_sync(bundle, **options) as model:
        expected = model.generate(LONGER, max_tokens=20, temperature=1.0, seed=5)
        saved = model.save_prompt(PROMPT)
        assert model.save_prompt(PROMPT) == saved
    with mlr.load_sync(bundle, **options) as model:
        assert model.restore_prompt(saved) == len(PROMPT)
        done = model.generate(LONGER, max_tokens=20, temperature=1.0, seed=5)
        assert done.timings.cached_tokens == len(PROMPT)
        assert done.token_ids == expected.token_ids


def test_texts_and_several_sequences(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle) as model:
        text = "On and on and on, the end of the text and its beginning."
        saved, count = model.save_prompt(text), len(model.tokenize(text))
    with mlr.load_sync(tiny_bundle, sequences=3, context_length=200) as model:
        kept = model.generate(PROMPT, max_tokens=2)
        assert model.restore_prompt(saved) == count
        again = model.generate(PROMPT, max_tokens=2)
        assert again.timings.cached_tokens == len(PROMPT) - 1, "another sequence was taken"
        assert again.token_ids == kept.token_ids
        assert model.generate(text + " And", max_tokens=2).timings.cached_tokens >= count - 1


def test_what_is_refused(tiny_bundle: Path, bert_bundle: Path, tmp_path: Path) -> None:
    other = package(tmp_path, n_layers=1, context_length=8192, seed=1)
    with mlr.load_sync(tiny_bundle, context_length=200) as model:
        saved = model.save_prompt(PROMPT)
        at = len(saved) // 2
        damaged = saved[:at] + bytes([saved[at] ^ 1]) + saved[at + 1 :]
        # the digest keeps damage away and not intent: whoever has the bundle can make one
        counts = b"\xff\xff\xff\x7f" + saved[36:]
        forged = hashlib.sha256(model._model._identity + counts).digest() + counts
        nothing: Any = None
        for wrong in (b"", saved[:40], saved[:-1], saved + b"x", damaged, forged, nothing):
            with pytest.raises(RequestError, match="saved"):
                model.restore_prompt(wrong)
        assert model.restore_prompt(saved) == len(PROMPT)
        with pytest.raises(RequestError, match="empty"):
            model.save_prompt([])
        with pytest.raises(ContextLengthError):
            model.save_prompt([1] * 201)
    with mlr.load_sync(other) as model, pytest.raises(RequestError, match="saved with this model"):
        model.restore_prompt(saved)  # the same shapes, and other weights
    short: dict[str, Any] = {"context_length": 60}
    cases = ((short, ContextLengthError, "60"), ({"kv_type": "q8"}, RequestError, "and kv_type"))
    for options, error, said in cases:
        with mlr.load_sync(tiny_bundle, **options) as model:
            with pytest.raises(error, match=said):
                model.restore_prompt(saved)
            assert model.generate([1, 3], max_tokens=2).timings.cached_tokens == 0
    with mlr.load_sync(bert_bundle) as model, pytest.raises(RequestError, match="embeddings"):
        model.save_prompt("cat")
    with pytest.raises(EngineError, match="closed"):
        model.restore_prompt(hashlib.sha256(b"").digest())


def test_while_every_sequence_is_in_use(tiny_bundle: Path) -> None:
    async def run() -> None:
        async with await mlr.load(tiny_bundle, threads=1) as model:
            saved = await model.save_prompt(PROMPT)
            stream = model.stream([1, 2], max_tokens=50)
            first = await anext(stream)
            with pytest.raises(RequestError, match="every sequence is in use"):
                await model.restore_prompt(saved)
            rest = [token.id async for token in stream]
            alone = await model.generate([1, 2], max_tokens=50)
            assert alone.token_ids == [first.id, *rest]
            assert await model.restore_prompt(saved) == len(PROMPT)

    asyncio.run(run())
