"""A model whose engine has failed, by a real trap, is loaded again with the next request."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlr.engines.kernel.engine import KernelEngine
from mlr.model import Model
from mlr.server.app import create_app
from mlr.server.loading import load_models
from mlr.server.registry import ServedModel
from mlr.server.work import Work

PROMPT = {"model": "tiny", "prompt": "hello", "max_tokens": 8, "temperature": 0}


@asynccontextmanager
async def serving(bundle: Path, parallel: int) -> AsyncIterator[tuple[ServedModel, Any]]:
    """A served model, and a client of it."""
    async with AsyncExitStack() as stack:
        registry = await load_models(
            [str(bundle)],
            stack,
            threads=2,
            context_length=None,
            parallel=parallel,
            kv_type="q16",
            draft=None,
            progress=lambda _: nullcontext(),
        )
        app: Any = create_app(registry, Work())
        transport = httpx.ASGITransport(app=app)
        client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        yield next(iter(registry)), await stack.enter_async_context(client)


def sabotage(model: Model) -> None:
    """Send the kernel's own pointer to a pass's tokens out of its memory."""
    assert isinstance(model.engine, KernelEngine)
    instance = model.engine._instance
    assert instance is not None
    tokens = int(instance.call("mlr_tokens"))
    pointer = instance.read(0, tokens).index(tokens.to_bytes(4, "little"))
    instance.write(pointer, b"\xff" * 4)


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_request_has_the_model_loaded_again(tiny_bundle: Path, stream: bool) -> None:
    async def scenario() -> None:
        async with serving(tiny_bundle, parallel=1) as (served, client):
            before = await client.post("/v1/completions", json=PROMPT)
            sabotage(served.model)
            failed = await client.post("/v1/completions", json=PROMPT | {"stream": stream})
            assert "failed in the kernel" in failed.text
            health = await client.get("/health")
            assert health.status_code == 503
            assert "failed in the kernel" in health.json()["models"][0]["error"]
            after = await client.post("/v1/completions", json=PROMPT)
            assert after.json()["choices"] == before.json()["choices"]
            assert (await client.get("/health")).status_code == 200

    asyncio.run(scenario())


def test_several_that_failed_together_have_it_loaded_once(tiny_bundle: Path) -> None:
    async def scenario() -> None:
        async with serving(tiny_bundle, parallel=3) as (served, client):
            before = await client.post("/v1/completions", json=PROMPT)
            sabotage(served.model)
            broken = served.model

            async def ask() -> tuple[int, Any]:
                answer = await client.post("/v1/completions", json=PROMPT)
                return answer.status_code, answer.json().get("choices")

            failed = await asyncio.gather(*(ask() for _ in range(3)))
            assert [status for status, _ in failed] == [500] * 3
            answers = await asyncio.gather(*(ask() for _ in range(5)))
            assert answers == [(200, before.json()["choices"])] * 5
            assert served.model is not broken
            repaired = served.model
            await ask()
            assert served.model is repaired

    asyncio.run(scenario())


def test_a_model_that_cannot_be_loaded_again(tiny_bundle: Path, tmp_path: Path) -> None:
    """Requests and health say so, until it can."""
    bundle = shutil.copytree(tiny_bundle, tmp_path / "tiny")

    async def scenario() -> None:
        async with serving(bundle, parallel=1) as (served, client):
            sabotage(served.model)
            await client.post("/v1/completions", json=PROMPT)
            bundle.rename(tmp_path / "elsewhere")
            for _ in range(2):
                failed = await client.post("/v1/completions", json=PROMPT)
                assert failed.status_code == 500
                assert "manifest.json" in failed.json()["error"]["message"]
                assert (await client.get("/health")).status_code == 503
            (tmp_path / "elsewhere").rename(bundle)
            assert (await client.post("/v1/completions", json=PROMPT)).status_code == 200

    asyncio.run(scenario())


def test_embeddings(bert_bundle: Path) -> None:
    async def scenario() -> None:
        async with serving(bert_bundle, parallel=1) as (served, client):
            asked = {"model": served.id, "input": ["a cat", "the dog ran"]}
            before = await client.post("/v1/embeddings", json=asked)
            sabotage(served.model)
            assert (await client.post("/v1/embeddings", json=asked)).status_code == 500
            after = await client.post("/v1/embeddings", json=asked)
            assert after.json() == before.json()

    asyncio.run(scenario())
