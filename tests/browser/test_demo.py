"""The demo model in Chromium, from a real `mlr serve`: the same tokens as in CPython."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

import mlr
from tests.browser.conftest import Served, Tab
from tests.browser.natively import natively

PROMPT = "The three primary colours are"
GREEDY = {"maxTokens": 32, "temperature": 0}
SAMPLED = {"maxTokens": 24, "temperature": 0.9, "topK": 50, "topP": 0.95, "minP": 0.02, "seed": 11}

GENERATE = """
    const model = await mlr.load("/bundles/gemma-3-270m/", {threads: x.threads});
    const greedy = await model.generate(x.prompt, x.greedy);
    const sampled = await model.generate(x.prompt, x.sampled);
    await model.close();
    return {info: model.info, greedy, sampled};
"""


def generate(tab: Tab, threads: int) -> Any:
    """Load with so many threads, and generate greedily and by sampling."""
    return tab.run(
        GENERATE, {"threads": threads, "prompt": PROMPT, "greedy": GREEDY, "sampled": SAMPLED}
    )


def test_same_tokens_as_wasmtime(
    served_demo: Served, open_tab: Callable[[], Tab], demo_bundle: Path
) -> None:
    tab = open_tab()
    tab.open(served_demo.url())
    first = generate(tab, 2)
    assert first["info"]["threads"] == 2
    assert first["info"]["isolated"] is True
    assert first["info"]["notices"] == []
    assert "2 threads" in first["info"]["engineDetail"]

    def both(model: mlr.SyncModel) -> tuple[mlr.Completion, mlr.Completion]:
        options = {"temperature": 0.9, "top_k": 50, "top_p": 0.95, "min_p": 0.02, "seed": 11}
        return (
            model.generate(PROMPT, max_tokens=32),
            model.generate(PROMPT, max_tokens=24, **options),
        )

    greedy, sampled = natively(demo_bundle, both, threads=2)
    assert first["greedy"]["tokenIds"] == greedy.token_ids
    assert first["greedy"]["text"] == greedy.text
    assert first["greedy"]["promptTokenIds"] == greedy.prompt_token_ids
    assert first["greedy"]["finishReason"] == greedy.finish_reason
    assert first["sampled"]["tokenIds"] == sampled.token_ids
    timings = first["greedy"]["timings"]
    assert 0 < timings["firstTokenMs"] < 60_000
    assert timings["decodeTokensPerSecond"] > 0
    assert timings["promptTokensPerSecond"] > 0
    assert timings["loadMs"] == first["info"]["loadMs"]

    # the second visit, on one thread: from what is stored, and the same tokens
    asked = len(served_demo.log("/shards/"))
    assert asked > 0
    tab = open_tab()
    tab.open(served_demo.url())
    second = generate(tab, 1)
    assert second["info"]["threads"] == 1
    assert second["info"]["fromSnapshot"] is True
    assert len(served_demo.log("/shards/")) == asked
    assert second["greedy"]["tokenIds"] == first["greedy"]["tokenIds"]
    assert second["sampled"]["tokenIds"] == first["sampled"]["tokenIds"]
    assert tab.complaints == []


def test_the_playground(served_demo: Served, tab: Tab) -> None:
    tab.open(served_demo.url())
    page = tab.page
    expect(page.locator("#bundle option")).to_have_text(["gemma-3-270m"])
    expect(page.locator("#license-notice")).to_contain_text("Gemma Terms of Use")
    page.get_by_role("button", name="Load").click()
    expect(page.locator("#where")).to_have_text("Ready")
    cores = int(tab.run("return navigator.hardwareConcurrency"))
    expect(page.locator("#threads")).to_have_text(str(min(cores, 8)))
    expect(page.locator("#stored")).to_contain_text("MB")

    page.get_by_label("Prompt").fill(PROMPT)
    page.get_by_label("Max tokens").fill("12")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#tokens")).to_have_text("12")
    expect(page.locator("#where")).to_have_text("Ready")
    expect(page.locator("#generated")).to_contain_text("red, yellow and blue")
    expect(page.locator("#speed")).to_contain_text("tokens/s")
    expect(page.locator("#status")).to_contain_text("Done: 12 tokens.")

    # Stop ends a long answer early
    page.get_by_label("Max tokens").fill("4000")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#generated")).to_contain_text("yellow")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#where")).to_have_text("Ready")
    expect(page.locator("#status")).to_contain_text("Stopped:")
    count = int(page.locator("#tokens").inner_text())
    assert 0 < count < 2000

    # and the engine is free at once
    page.get_by_label("Max tokens").fill("2")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#status")).to_contain_text("Done: 2 tokens.")

    # a prompt that is too long is refused, and the model stays
    page.get_by_label("Prompt").fill("word " * 5000)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_contain_text("the context holds 4096")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#where")).to_have_text("Ready")

    page.get_by_role("button", name="Empty").click()
    expect(page.locator("#stored")).to_have_text("nothing")
    assert tab.complaints == []
