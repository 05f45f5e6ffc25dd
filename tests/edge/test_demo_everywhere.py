"""The demo model: the same logits and tokens in Node and Chromium as in CPython."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

import mlr
from tests.browser.site import serve_site
from tests.edge.hosts import PROGRAMS, ask_terminal

PROMPT, TOKENS, CONTEXT = "The three primary colours are", 8, 256


def in_python(bundle: Path) -> dict[str, Any]:
    """CPython's prompt ids, the digest of the logits after them, and its tokens."""
    with mlr.load_sync(bundle, threads=1, context_length=CONTEXT) as model:
        ids, engine = model.tokenize(PROMPT), model._model.engine
        engine.evaluate(ids)
        digest = hashlib.sha256(engine.logits().tobytes()).hexdigest()
        done = model.generate(PROMPT, max_tokens=TOKENS)
    return {"ids": ids, "logits": digest, "tokens": done.token_ids}


@pytest.fixture(scope="module")
def expected(demo_bundle: Path) -> dict[str, Any]:
    """CPython's answers, from a thread of its own: Playwright may have its loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(in_python, demo_bundle).result()


def job(bundle: str, expected: dict[str, Any]) -> dict[str, Any]:
    """What a host is asked."""
    return {
        "bundle": bundle,
        "threads": [2],
        "contextLength": CONTEXT,
        "ids": [expected["ids"]],
        "generations": [{"prompt": PROMPT, "options": {"maxTokens": TOKENS}}],
    }


def check(answers: Any, expected: dict[str, Any]) -> None:
    """The answer is CPython's."""
    assert isinstance(answers, list), answers
    (answer,) = answers
    assert answer["threads"] == 2
    assert answer["logits"] == [expected["logits"]]
    (completion,) = answer["completions"]
    assert completion["promptTokenIds"] == expected["ids"]
    assert completion["tokenIds"] == expected["tokens"]


def test_node(
    package: Path, hosts: Path, demo_bundle: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    asked = job(demo_bundle.as_uri(), expected)
    check(ask_terminal("node 24", package, asked, tmp_path), expected)


def test_chromium(
    package: Path, chromium: str, demo_bundle: Path, expected: dict[str, Any]
) -> None:
    folders = {"/package/": package, "/bundle/": demo_bundle, "/programs/": PROGRAMS}
    with serve_site(folders) as site, sync_playwright() as playwright:
        site.texts["/probe.html"] = (PROGRAMS / "probe.html").read_bytes()
        site.texts["/job.json"] = json.dumps(job(f"{site.url}/bundle/", expected)).encode()
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        browser.new_page().goto(f"{site.url}/probe.html")
        answers = json.loads(site.posted.get(timeout=120))
        browser.close()
    check(answers, expected)
