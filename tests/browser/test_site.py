"""A static site on a host that sends no headers, under a path of its own, and then without it."""

from __future__ import annotations

import re
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from mlr_build.cli import main as mlr_build
from tests.browser.natively import natively
from tests.browser.site import Site, serve_site

PATH = "/some/folder/"
PROMPT = "hello"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, built_page: Path, tiny_bundle: Path) -> Path:
    """The site of the tiny model."""
    out = tmp_path_factory.mktemp("site") / "site"
    assert mlr_build(["site", str(tiny_bundle), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def expected(tiny_bundle: Path) -> str:
    """What the tiny model says in CPython."""
    return natively(tiny_bundle, lambda model: model.generate(PROMPT, max_tokens=8).text)


def generate(page: Page) -> str:
    """Load the model and generate, as a visitor does; returns the text."""
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator("body")).to_have_attribute("data-state", "ready")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_label("Max tokens").fill("8")
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator("#generated")).not_to_be_empty()
    expect(page.locator("body")).to_have_attribute("data-state", "ready")
    return page.locator("#generated").text_content() or ""


def until(page: Page, expression: str) -> None:
    """Wait for an expression; the page may be loaded again meanwhile, and its policy allows no
    text to be evaluated by the page itself."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(Error):
            if page.evaluate(expression):
                return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def wait_until_kept(page: Page) -> None:
    """Until the worker has taken over and the page, loaded again, is isolated."""
    until(page, "crossOriginIsolated && navigator.serviceWorker.controller !== null")
    page.locator("#load:enabled").wait_for()


def test_a_site_has_threads_without_headers_and_works_offline(
    browser: Browser, folder: Path, expected: str
) -> None:
    with closing(browser.new_context()) as visitor:
        with serve_site({PATH: folder}) as site:
            site.isolated = False
            page = visitor.new_page()
            page.goto(site.url + PATH)
            wait_until_kept(page)
            assert generate(page) == expected
            expect(page.locator("#notices")).to_be_empty()  # it would speak of one thread
            assert site.asked("/shards/")
            page.close()
        # the host is gone now
        page = visitor.new_page()
        page.goto(site.url + PATH)
        assert page.evaluate("crossOriginIsolated") is True
        assert generate(page) == expected


def test_a_new_version_takes_over_when_the_old_one_is_closed(
    browser: Browser, folder: Path
) -> None:
    with closing(browser.new_context()) as visitor, serve_site({PATH: folder}) as site:
        site.isolated = False
        page = visitor.new_page()
        page.goto(site.url + PATH)
        wait_until_kept(page)
        _publish_again(site, folder)
        page.reload()
        until(page, "navigator.serviceWorker.ready.then((site) => Boolean(site.waiting))")
        assert page.title() == "mlr playground", "the open page stays with its version"
        page.close()
        page = visitor.new_page()
        page.goto(site.url + PATH)
        expect(page).to_have_title("another title")
        names = page.evaluate("caches.keys()")
        assert len(names) == 1, "the old version's files are gone"


def _publish_again(site: Site, folder: Path) -> None:
    index = (folder / "index.html").read_bytes()
    worker = (folder / "service-worker.js").read_bytes()
    site.texts[PATH + "index.html"] = index.replace(b"mlr playground<", b"another title<")
    site.texts[PATH + "service-worker.js"] = re.sub(
        rb'"version": "[0-9a-f]{64}"', b'"version": "2"', worker
    )


def test_a_host_that_sends_the_headers_needs_no_reload(browser: Browser, folder: Path) -> None:
    with closing(browser.new_context()) as visitor, serve_site({PATH: folder}) as site:
        page = visitor.new_page()
        page.goto(site.url + PATH)
        until(page, "navigator.serviceWorker.controller !== null")
        page.locator("#load:enabled").wait_for()
        assert page.evaluate("sessionStorage.length") == 0
        assert page.evaluate("performance.getEntriesByType('navigation')[0].type") == "navigate"
