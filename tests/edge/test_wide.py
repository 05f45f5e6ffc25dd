"""Models that need more memory than 32 bits address: the same answers, or a clear refusal."""

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
from tests.edge.hosts import PROGRAMS, ask_firefox, ask_terminal
from tests.parity.tokenizer.trained import trained
from tests.support.bundles import package as package_bundle
from tests.support.bundles import with_files

# 32 kB of KV cache a token: the last of eight layers lies wholly beyond 4 GiB. Memory that nothing
# is written to is not taken, so these tests need little of it.
CONTEXT = 5 << 15
THREADS = [1, 3]
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
IDS = [[(n * 7919) % 290 + 3 for n in range(150)]]
PROMPT = [5, 6, 7, 300]
OPTIONS = {"maxTokens": 24, "temperature": 1.1, "seed": 3}
DETAIL = "relaxed SIMD, 64-bit addresses, "


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with a large KV cache, and matrices of every type."""
    tokenizer = trained("llama3")
    sizes: dict[str, Any] = {"n_layers": 8, "n_heads": 8, "n_kv_heads": 8, "head_dim": 128}
    sizes |= {"n_vocab": tokenizer.get_vocab_size(), "context_length": CONTEXT}
    folder = tmp_path_factory.mktemp("wide")
    bundle = package_bundle(folder, quantization="EVERY", **sizes)
    with_files(bundle, TEMPLATE, tokenizer.to_str())
    return bundle


def in_python(bundle: Path) -> dict[str, Any]:
    """What CPython says with a short context and 32-bit addresses."""
    with mlr.load_sync(bundle, threads=1, context_length=256) as model:
        engine = model._model.engine
        engine.evaluate(IDS[0])
        logits = hashlib.sha256(engine.logits().tobytes()).hexdigest()
        engine.truncate(0)
        done = model.generate(PROMPT, max_tokens=24, temperature=1.1, seed=3)
    return {"logits": [logits], "tokenIds": done.token_ids}


@pytest.fixture(scope="module")
def expected(bundle: Path) -> dict[str, Any]:
    """CPython's answers, from a thread of its own: Playwright may have its loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(in_python, bundle).result()


def job(bundle: str, threads: list[int] = THREADS) -> dict[str, Any]:
    """What a host is asked."""
    generations = [{"prompt": PROMPT, "options": OPTIONS}]
    return {
        "bundle": bundle,
        "threads": threads,
        "contextLength": CONTEXT,
        "ids": IDS,
        "generations": generations,
    }


def check(answers: Any, expected: dict[str, Any]) -> None:
    """Every answer is CPython's, from addresses of 64 bits."""
    assert isinstance(answers, list), answers
    assert [answer["threads"] for answer in answers] == THREADS
    for answer in answers:
        assert answer["detail"].startswith(DETAIL)
        assert answer["logits"] == expected["logits"]
        assert [done["tokenIds"] for done in answer["completions"]] == [expected["tokenIds"]]


@pytest.mark.parametrize("host", ["node 24", "deno"])
def test_terminal(
    host: str, package: Path, hosts: Path, bundle: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    check(ask_terminal(host, package, job(bundle.as_uri()), tmp_path), expected)


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_browser(
    browser: str,
    request: pytest.FixtureRequest,
    package: Path,
    bundle: Path,
    expected: dict[str, Any],
    tmp_path: Path,
) -> None:
    program = request.getfixturevalue(browser)
    folders = {"/package/": package, "/bundle/": bundle, "/programs/": PROGRAMS}
    with serve_site(folders) as site:
        site.texts["/probe.html"] = (PROGRAMS / "probe.html").read_bytes()
        site.texts["/job.json"] = json.dumps(job(f"{site.url}/bundle/")).encode()
        if browser == "firefox":
            answers = ask_firefox(program, site, "/probe.html", tmp_path)
        else:
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(
                    executable_path=program, args=["--no-sandbox"]
                )
                chromium.new_page().goto(f"{site.url}/probe.html")
                answers = json.loads(site.posted.get(timeout=120))
                chromium.close()
    check(answers, expected)


def test_node_20_refuses(package: Path, hosts: Path, bundle: Path, tmp_path: Path) -> None:
    """Its WebAssembly has no 64-bit memories; what would fit is said."""
    answer = ask_terminal("node 20", package, job(bundle.as_uri(), [1]), tmp_path)
    assert answer["error"] == "CapacityError"
    assert "the 32-bit WebAssembly memory of this host holds 4295 MB" in answer["message"]
    assert f"load with contextLength: {CONTEXT // 2}" in answer["message"]
