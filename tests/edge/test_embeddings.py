"""Embeddings of a tiny encoder and a tiny decoder are CPython's, bit for bit, in every host."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

import mlr
from mlr_build.cli import main as mlr_build
from tests.browser.site import Site, serve_site
from tests.edge.hosts import PROGRAMS, TERMINALS, ask_firefox, ask_terminal, ask_workerd, workerd
from tests.support.bundles import package_embedder
from tests.support.tiny_bert import TEXTS, tiny_bert, tiny_cross_encoder

THREADS = [1, 2]
LONG = "the cat sat on the mat " * 10
MANY = [" ".join(["cat", "dog", "mat"][: i % 3 + 1] * (i % 5 + 1)) for i in range(200)]
# Of each kind of model: what it is asked, and what it cuts.
ENCODER: list[dict[str, Any]] = [
    {"texts": TEXTS, "options": {}},
    {"texts": MANY, "options": {}},  # more than a pass takes
    {"texts": ["a cat", LONG, LONG + "[SEP]"], "options": {"promptName": "query"}},
    {"texts": [[2, 5, 7, 3], [5] * 30], "options": {"normalize": True}},
]
DECODER: list[dict[str, Any]] = [
    {"texts": TEXTS, "options": {}},
    {"texts": [[5] * 100, [5] * 101, [5]], "options": {}},  # two passes, and a beginning again
    {"texts": ["a cat", LONG], "options": {"normalize": True}},
]
REQUESTS = {"encoder": ENCODER, "decoder": DECODER}
TRUNCATED = {"encoder": [[4], [], [1, 2], [1]], "decoder": [[], [], [1]]}
# What is asked for wrongly, with the code of the error.
REFUSED: list[dict[str, Any]] = [
    {"texts": ["a", LONG], "options": {"truncate": False}, "code": "context-length"},
    {"texts": ["a"], "options": {"promptName": "toString"}, "code": "request"},
    {"texts": ["a"], "options": {"normalize": False}, "code": "request"},
    {"texts": ["a"], "options": {"prompt": "query"}, "code": "request"},
    {"texts": ["a", []], "options": {}, "code": "request"},
    {"texts": [[2, 9999]], "options": {}, "code": "request"},
    {"texts": 5, "options": {}, "code": "request"},
    {"texts": ["a", None], "options": {}, "code": "request"},
]


@pytest.fixture(scope="module", params=REQUESTS)
def kind(request: pytest.FixtureRequest) -> str:
    """An encoder or a decoder."""
    return str(request.param)


@pytest.fixture(scope="module")
def bundle(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that takes 24 tokens and has a prompt for queries, or a Qwen 3 Embedding."""
    folder = tmp_path_factory.mktemp(kind)
    if kind == "decoder":
        return package_embedder(folder)
    return encoder(folder)


def encoder(folder: Path) -> Path:
    """The BERT."""
    source, bundle = tiny_bert(folder / "bert"), folder / "bundle"
    assert mlr_build(["package", str(source), "--quantize", "f32", "--out", str(bundle)]) == 0
    return bundle


def in_python(bundle: Path, kind: str) -> list[dict[str, Any]]:
    """What CPython says, on one thread."""
    with mlr.load_sync(bundle, threads=1) as model:
        answers = []
        for request in REQUESTS[kind]:
            options = request["options"]
            made = model.embed(
                request["texts"],
                prompt_name=options.get("promptName"),
                normalize=options.get("normalize"),
            )
            cut = list(made.truncated)
            answers.append({"vectors": made.vectors, "tokens": made.tokens, "truncated": cut})
        return answers


@pytest.fixture(scope="module")
def expected(bundle: Path, kind: str) -> list[dict[str, Any]]:
    """CPython's answers, from a thread of its own: Playwright may have its loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(in_python, bundle, kind).result()
    assert [answer["truncated"] for answer in answers] == TRUNCATED[kind]
    return answers


@pytest.fixture(scope="module")
def site(package: Path, bundle: Path, kind: str) -> Iterator[Site]:
    """The package, the bundle, and the page that browsers open."""
    folders = {"/package/": package, "/bundle/": bundle, "/programs/": PROGRAMS}
    with serve_site(folders) as site:
        site.texts["/probe.html"] = (PROGRAMS / "probe.html").read_bytes()
        site.texts["/job.json"] = json.dumps(job(f"{site.url}/bundle/", kind)).encode()
        yield site


def job(bundle: str, kind: str, threads: list[int] = THREADS) -> dict[str, Any]:
    """What a host is asked."""
    asked = {"ids": [], "generations": [], "embeddings": REQUESTS[kind], "refused": REFUSED}
    return {"bundle": bundle, "threads": threads, **asked}


def check(answers: Any, expected: list[dict[str, Any]], threads: list[int]) -> None:
    """Every answer is CPython's: JSON keeps every bit of a number."""
    assert isinstance(answers, list), answers
    assert [answer["threads"] for answer in answers] == threads
    for answer in answers:
        assert answer["embeddings"] == expected, answer["detail"]
        assert answer["refused"] == [request["code"] for request in REFUSED]


@pytest.mark.parametrize("host", TERMINALS)
def test_terminal(
    host: str, package: Path, hosts: Path, bundle: Path, kind: str, expected: Any, tmp_path: Path
) -> None:
    check(ask_terminal(host, package, job(bundle.as_uri(), kind), tmp_path), expected, THREADS)


def test_lengths_that_the_model_leaves(package: Path, hosts: Path, tmp_path: Path) -> None:
    """`normalize` where the model itself does not."""
    bundle = encoder(tmp_path)
    with mlr.load_sync(bundle, threads=1) as model:
        expected = model.embed(TEXTS).vectors
    raw = tmp_path / "raw"
    shutil.copytree(bundle, raw)
    manifest = json.loads((raw / "manifest.json").read_text(encoding="utf-8"))
    manifest["variants"][0]["config"]["normalize_embeddings"] = False
    (raw / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    requests = [{"texts": TEXTS, "options": {"normalize": one}} for one in (True, False)]
    asked = job(raw.as_uri(), "encoder", [1]) | {"embeddings": requests, "refused": []}
    (answer,) = ask_terminal("node 24", package, asked, tmp_path)
    made, left = (np.array(one["vectors"]) for one in answer["embeddings"])
    # The kernel's and JavaScript's quotients are rounded to float32 at other places.
    np.testing.assert_allclose(made, expected, rtol=5e-7)
    lengths = np.linalg.norm(left, axis=1)
    assert (abs(lengths - 1) > 0.1).all()
    np.testing.assert_allclose(left, made * lengths[:, None], rtol=1e-6)


def test_a_model_that_ranks(package: Path, hosts: Path, tmp_path: Path) -> None:
    """Its scores are of pairs of texts, so that of one text means nothing."""
    source, bundle = tiny_cross_encoder(tmp_path / "source"), tmp_path / "bundle"
    assert mlr_build(["package", str(source), "--quantize", "f32", "--out", str(bundle)]) == 0
    asked = job(bundle.as_uri(), "encoder", [1])
    asked |= {"embeddings": [], "refused": [{"texts": ["a cat"], "options": {}}]}
    (answer,) = ask_terminal("node 24", package, asked, tmp_path)
    assert answer["refused"] == ["unsupported-model"]


def test_chromium(site: Site, chromium: str, expected: Any) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        browser.new_page().goto(f"{site.url}/probe.html")
        answers = json.loads(site.posted.get(timeout=120))
        browser.close()
    check(answers, expected, THREADS)


def test_firefox(site: Site, firefox: str, expected: Any, tmp_path: Path) -> None:
    check(ask_firefox(firefox, site, "/probe.html", tmp_path), expected, THREADS)


def test_workerd(package: Path, site: Site, hosts: Path, kind: str, expected: Any) -> None:
    modules = {
        "worker.mjs": PROGRAMS / "edge_worker.mjs",
        "probe.mjs": PROGRAMS / "probe.mjs",
        "mlr.js": package / "workerd" / "testing.js",
        "kernel.wasm": package / "kernel-relaxed.wasm",
    }
    with workerd(modules) as url:
        check(ask_workerd(url, job(f"{site.url}/bundle/", kind, [1])), expected, [1])
