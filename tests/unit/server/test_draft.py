"""A model that is served with a draft."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any

import httpx

import mlr
from mlr.server.app import create_app
from mlr.server.loading import load_models
from mlr.server.work import Work
from tests.support.metering import metered


def test_requests_side_by_side_are_answered_as_without(tiny_bundle: Path) -> None:
    prompts = ["hello", "the other", "and another one"]
    body = {"model": "tiny", "max_tokens": 60, "seed": 5, "temperature": 0.8}

    async def run() -> list[str]:
        async with AsyncExitStack() as stack:
            registry = await load_models(
                [str(tiny_bundle)],
                stack,
                threads=1,
                context_length=None,
                parallel=2,
                kv_type="q16",
                draft=str(tiny_bundle),
                progress=lambda _: nullcontext(),
            )
            _, passes, drafted = metered(registry.get("tiny").model)
            app: Any = create_app(registry, Work())
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                answers = await asyncio.gather(
                    *(client.post("/v1/completions", json=body | {"prompt": p}) for p in prompts)
                )
            assert {step.sequence for steps in drafted for step in steps} == {0, 1}
            assert len(passes) < 0.6 * 2 * 60
            return [answer.json()["choices"][0]["text"] for answer in answers]

    texts = asyncio.run(run())
    with mlr.load_sync(tiny_bundle, threads=1) as model:
        for prompt, text in zip(prompts, texts, strict=True):
            assert model.generate(prompt, max_tokens=60, seed=5, temperature=0.8).text == text
