"""The session that the page's worker talks to, here in CPython."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import mlr
from mlr.session import Session

T = TypeVar("T")


async def value(answer: Awaitable[str]) -> Any:
    """The value of an answer."""
    return json.loads(await answer)["value"]


def options(**chosen: Any) -> str:
    """Options as the worker passes them."""
    return json.dumps(chosen)


async def loaded(bundle: Path) -> Session:
    """A session with a model."""
    session = Session()
    await value(session.load(str(bundle), options(threads=1), lambda *_: None))
    return session


def test_load_and_generate(tiny_bundle: Path) -> None:
    progress: list[tuple[str, int, int]] = []
    tokens: list[tuple[int, str, str]] = []

    async def run() -> tuple[Any, Any, Any]:
        session = Session()
        info = await value(
            session.load(str(tiny_bundle), options(threads=1), lambda *one: progress.append(one))
        )
        ids = json.loads(session.tokenize("hello", True))["value"]
        completion = await value(
            session.generate(
                1,
                json.dumps("hello"),
                options(max_tokens=5, logprobs=2),
                lambda *one: tokens.append(one),
            )
        )
        await session.close()
        await session.close()
        return info, ids, completion

    info, ids, completion = asyncio.run(run())
    with mlr.load_sync(tiny_bundle, threads=1) as model:
        expected = model.generate("hello", max_tokens=5, logprobs=2)
        assert ids == model.tokenize("hello")
    assert info["name"] == "tiny"
    assert info["threads"] == 1
    assert info["notices"] == []
    memory = info["memory"]
    assert memory["total"] == memory["weights"] + memory["kvCache"] + memory["scratch"]
    assert progress[-1][0] == "load"
    assert progress[-1][1] == progress[-1][2]
    assert completion["tokenIds"] == expected.token_ids
    assert completion["finishReason"] == expected.finish_reason
    streamed = [{"id": id, "text": text, **json.loads(likely)} for id, text, likely in tokens]
    assert streamed == completion["tokens"]
    assert [token["id"] for token in streamed] == expected.token_ids
    assert [token["logprob"] for token in streamed] == [t.logprob for t in expected.tokens]
    assert "".join(token["text"] for token in streamed) == expected.text


def test_a_stopped_generation_answers_with_nothing(tiny_bundle: Path) -> None:
    async def run() -> tuple[Any, Any, int]:
        session = await loaded(tiny_bundle)
        count = 0

        def on_token(token: int, text: str, likely: str | None) -> None:
            nonlocal count
            count += 1
            if count == 3:
                session.stop(7)

        stopped = await value(session.generate(7, '"hello"', options(max_tokens=1000), on_token))
        session.stop(7)  # it has ended
        after = await value(session.generate(8, '"hello"', options(max_tokens=2), None))
        await session.close()
        return stopped, after, count

    stopped, after, count = asyncio.run(run())
    assert stopped is None
    assert count < 10
    assert len(after["tokenIds"]) == 2


def test_errors_are_data(tiny_bundle: Path, tmp_path: Path) -> None:
    async def run() -> list[Any]:
        session = Session()
        answers = [
            session.tokenize("hello", True),
            await session.generate(1, '"hello"', "{}", None),
            await session.load(str(tmp_path), "{}", lambda *_: None),
            await session.load(str(tiny_bundle), options(threads=0), lambda *_: None),
        ]
        return [json.loads(answer)["error"] for answer in answers]

    errors = asyncio.run(run())
    names = [error["name"] for error in errors]
    assert names == ["EngineError", "EngineError", "BundleError", "RequestError"]
    assert "threads" in errors[3]["message"]
