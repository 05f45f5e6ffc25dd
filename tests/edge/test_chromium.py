"""The npm package in a page: it stays responsive, and what runs can be given up at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.browser.site import Site, serve_site
from tests.edge.hosts import PROGRAMS
from tests.edge.test_faults import CORRUPTING, SLOW, check_embedding, check_given_up, dying
from tests.support.bundles import package as package_bundle
from tests.support.bundles import package_embedder

START = """
    const { load, MlrError } = await import("/package/browser/mlr.js");
    const options = { threads: 2, contextLength: 8192 };
    const nameOf = (error) => (error instanceof MlrError ? error.code : error.name);
    const outcome = (promise) => promise.then(() => "ended", nameOf);
"""
FORGET = """
    const files = await navigator.storage.getDirectory();
    await files.removeEntry("mlr", { recursive: true }).catch(() => undefined);
"""


@pytest.fixture(scope="module")
def site(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The package, a tiny bundle, and an empty page."""
    folder = tmp_path_factory.mktemp("tiny")
    folders = {
        "/package/": package,
        "/bundle/": package_bundle(folder, n_layers=4, context_length=8192),
        "/embedder/": package_embedder(folder, context_length=4096),
        "/programs/": PROGRAMS,
    }
    with serve_site(folders) as site:
        site.texts["/page.html"] = b"<!doctype html>"
        yield site


@pytest.fixture(scope="module")
def page(site: Site, chromium: str) -> Iterator[Page]:
    """A tab with the empty page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{site.url}/page.html")
        yield page
        browser.close()


def run(page: Page, script: str) -> Any:
    """What an asynchronous function's body returns in the page."""
    return page.evaluate(f"async () => {{ {START} {script} }}")


def test_progress(page: Page, site: Site) -> None:
    """Loading says how far it is, never goes back, and ends at the whole."""
    heard, tokens = run(
        page,
        """
        const heard = [];
        const model = await load("/bundle/", { ...options, onProgress: (one) => heard.push(one) });
        const { tokenIds } = await model.generate("hello", { maxTokens: 8 });
        await model.close();
        return [heard, tokenIds.length];
        """,
    )
    assert tokens == 8
    size = sum(path.stat().st_size for path in (site.folders["/bundle/"] / "shards").iterdir())
    for stage in ("fetch", "load"):
        steps = [(one["done"], one["total"]) for one in heard if one["stage"] == stage]
        assert len(steps) > 1
        assert steps == sorted(steps)
        assert steps[-1] == (size, size)


def test_a_page_that_is_not_isolated(page: Page, site: Site) -> None:
    """One thread, said so, and the same tokens."""
    script = """
        const model = await load("/bundle/", options);
        const { tokenIds } = await model.generate("hello", { maxTokens: 30 });
        await model.close();
        return { isolated: crossOriginIsolated, info: model.info, tokenIds };
    """
    several = run(page, script)
    site.isolated = False
    page.reload()
    alone = run(page, script)
    site.isolated = True
    page.reload()
    assert (several["isolated"], several["info"]["threads"]) == (True, 2)
    assert (alone["isolated"], alone["info"]["threads"]) == (False, 1)
    assert "cross-origin isolated" in " ".join(alone["info"]["notices"])
    assert several["info"]["notices"] == []
    assert alone["tokenIds"] == several["tokenIds"]


def test_a_load_that_is_given_up(page: Page, site: Site) -> None:
    site.stalls["/bundle/manifest.json"] = 2
    took, name = run(
        page,
        """
        const start = performance.now();
        const signal = AbortSignal.timeout(200);
        const name = await outcome(load("/bundle/", { ...options, signal }));
        return [performance.now() - start, name];
        """,
    )
    del site.stalls["/bundle/manifest.json"]
    assert name == "TimeoutError", "the signal's own reason"
    assert took < 1500


def test_a_bundle_of_another_origin(page: Page, site: Site) -> None:
    """Taken up again after a cut, though a page may not read another origin's `Content-Range`."""
    with serve_site({"/": site.folders["/bundle/"]}) as other:
        other.shared = True
        shard = next((site.folders["/bundle/"] / "shards").iterdir()).name
        other.cuts[f"/shards/{shard}"] = [100_000]
        ended = run(
            page,
            f"""
            {FORGET}
            return outcome(load("{other.url}/", options).then((model) => model.close()));
            """,
        )
        assert ended == "ended"
        assert [request.range[:6] for request in other.asked("shards")] == ["", "bytes="]


def test_streams_that_are_given_up(page: Page) -> None:
    """By the signal, then by closing the model; in between the model goes on."""
    aborted, after, closed, closed_after = run(
        page,
        """
        const model = await load("/bundle/", options);
        const whole = await model.generate("hello", { maxTokens: 8 });
        const read = async (streaming, then) => {
          let count = 0;
          for await (const token of model.stream("hello", { maxTokens: 1e6, ...streaming })) {
            if (++count === 3) then();
          }
        };
        const controller = new AbortController();
        const aborted = await outcome(
          read({ signal: controller.signal }, () => controller.abort(new TypeError("enough"))),
        );
        const again = await model.generate("hello", { maxTokens: 8 });
        const closed = await outcome(read({}, () => model.close()));
        return [aborted, again.text === whole.text, closed, await outcome(model.tokenize("a"))];
        """,
    )
    assert (aborted, after) == ("TypeError", True)
    assert (closed, closed_after) == ("engine", "engine")


@pytest.mark.parametrize(
    ("scenario", "bundle", "check"),
    [("given_up", "/bundle/", check_given_up), ("embedding", "/embedder/", check_embedding)],
)
def test_what_runs_stops_at_once(
    page: Page, site: Site, package: Path, scenario: str, bundle: str, check: Callable[[Any], None]
) -> None:
    """Counted in tokens and in passes of the kernel, which are slow here."""
    path = "/package/browser/worker.js"
    site.texts[path] = (SLOW + (package / "browser" / "worker.js").read_text("utf-8")).encode()
    script = f"""
        const {{ faults }} = await import("/programs/faults.mjs");
        return faults(load, "{bundle}").{scenario}();
    """
    check(run(page, script))
    del site.texts[path]


def test_a_shard_that_stalls(page: Page, site: Site) -> None:
    """A server that stops in its middle is given up; the next load goes on from there."""
    (shard, *_) = (site.folders["/bundle/"] / "shards").iterdir()
    path = f"/bundle/shards/{shard.name}"
    site.halts[path] = shard.stat().st_size - 1
    script = """
        const loading = load("/bundle/", { ...options, timeout: 300 });
        return loading.then(
          (model) => model.close(),
          ({ name, message }) => `${name}: ${message}`,
        );
    """
    answer = run(page, FORGET + script)
    assert answer.startswith("FetchError")
    assert "nothing arrived for 0.3 seconds" in answer
    del site.halts[path]
    site.seen.clear()
    assert run(page, script) is None
    (asked,) = site.asked(path)
    assert int(asked.range.removeprefix("bytes=").partition("-")[0]) > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [(dying, "died"), (lambda script: CORRUPTING + script, "mlr_eval failed in the kernel")],
)
def test_a_worker_that_fails(
    page: Page, site: Site, package: Path, change: Callable[[str], str], said: str
) -> None:
    """Dead, or trapped in a pass of 13 tokens: the model can be loaded again."""
    path = "/package/browser/worker.js"
    script = """
        const model = await load("/bundle/", options);
        const prompt = new Array(13).fill(5);
        const answers = [];
        for (let i = 0; i < 2; i++) {
          const asked = model.generate(prompt, { maxTokens: 4 }).then((done) => done.tokenIds);
          answers.push(await asked.catch(({ code, message }) => [code, message]));
        }
        await model.close();
        return answers;
    """
    whole = run(page, script)
    site.texts[path] = change((package / "browser" / "worker.js").read_text("utf-8")).encode()
    (code, message), (after, _) = run(page, script)
    del site.texts[path]
    assert (code, after) == ("engine", "engine")
    assert said in message
    assert run(page, script) == whole


def test_the_page_stays_responsive(page: Page) -> None:
    """A timer of 20 ms goes on while a long prompt is read and tokens come."""
    longest, ticks, tokens = run(
        page,
        """
        const model = await load("/bundle/", options);
        let [last, longest, ticks] = [performance.now(), 0, 0];
        const timer = setInterval(() => {
          const now = performance.now();
          [longest, last, ticks] = [Math.max(longest, now - last), now, ticks + 1];
        }, 20);
        const { tokenIds } = await model.generate(new Array(2000).fill(5), { maxTokens: 100 });
        clearInterval(timer);
        await model.close();
        return [longest, ticks, tokenIds.length];
        """,
    )
    assert tokens > 1
    assert ticks >= 5
    assert longest < 500, "a loaded machine makes timers late, but not by this much"
