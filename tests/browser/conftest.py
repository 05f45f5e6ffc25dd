"""Fixtures of the tests that drive Chromium."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from mlr_build.cli import main as mlr_build
from tests.browser.site import Site, serve_site
from tests.conftest import IN_CI, ROOT
from tests.support.tiny_models import tiny_gguf

PAGE = ROOT / "runtime_py" / "mlr" / "server" / "page"
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
TIMEOUT_MS = 60_000
SHARD_SIZE = 9 * 65536  # nine chunks of 64 KiB


class Served:
    """A running `mlr serve` and what it has logged."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._url = ""
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                self._url = self._url or found[0]
                self._ready.set()
        self._ready.set()

    def url(self) -> str:
        """Where the playground is, once the server says so."""
        assert self._ready.wait(60), f"mlr serve said: {''.join(self._lines)}"
        assert self._url, f"mlr serve ended: {''.join(self._lines)}"
        return self._url

    def log(self, part: str) -> list[str]:
        """The lines so far that hold `part`."""
        return [line for line in self._lines if part in line]

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(20)
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="session")
def built_page() -> Path:
    """The folder of the built page."""
    if not (PAGE / "index.html").is_file():
        reason = "the page is not built: run `make page`"
        if IN_CI:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return PAGE


@pytest.fixture(scope="session")
def served_demo(built_page: Path, demo_bundle: Path) -> Iterator[Served]:
    """`mlr serve` with the demo model."""
    command = [sys.executable, "-m", "mlr", "serve", str(demo_bundle), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    with closing(Served(process)) as served:
        yield served


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium, headless.

    Not kept for longer than a file's tests: while it runs, Playwright has an event loop in this
    thread, and tests elsewhere that run one of their own could not.
    """
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights, in four shards of up to nine chunks."""
    folder = tmp_path_factory.mktemp("tiny")
    source = tiny_gguf(folder / "tiny.gguf", n_layers=4, n_ff=1024, context_length=1024)
    command = ["package", str(source), "--out", str(folder / "tiny"), "--name", "tiny"]
    assert mlr_build([*command, "--shard-size", str(SHARD_SIZE)]) == 0
    return folder / "tiny"


@pytest.fixture(scope="session")
def tiny_shards(tiny_bundle: Path) -> list[str]:
    """The paths of the tiny model's shards on the site."""
    manifest = json.loads((tiny_bundle / "manifest.json").read_bytes())
    return [f"/bundles/tiny/{shard['file']}" for shard in manifest["variants"][0]["shards"]]


@pytest.fixture(scope="module")
def _site(built_page: Path, tiny_bundle: Path) -> Iterator[Site]:
    with serve_site({"/bundles/tiny/": tiny_bundle, "/": built_page}) as site:
        yield site


@pytest.fixture
def site(_site: Site) -> Iterator[Site]:
    """The page and the tiny bundle at `/bundles/tiny/`; nothing goes wrong until told to."""
    yield _site
    _site.reset()


@pytest.fixture(scope="module")
def visitor(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor with storage of their own, the same through a file of tests."""
    with closing(browser.new_context()) as context:
        context.set_default_timeout(TIMEOUT_MS)
        yield context


class Tab:
    """A page of the visitor's, and what it has complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text) if message.type == "error" else None
            ),
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, url: str) -> None:
        """Go to a URL of the playground and wait until it can be used."""
        self.page.goto(url)
        self.page.locator("body:not([data-state=empty]), #load:enabled").first.wait_for()

    def run(self, body: str, argument: Any = None) -> Any:
        """Run the body of an asynchronous JavaScript function; `x` is the argument.

        An error that it throws is returned as `{"error": name, "message": …}`.
        """
        return self.page.evaluate(
            "async (x) => { try {" + body + "} catch (error) {"
            "return {error: error.name, message: error.message}; } }",
            argument,
        )


@pytest.fixture
def open_tab(visitor: BrowserContext) -> Iterator[Callable[[], Tab]]:
    """Opens tabs of the visitor's that are closed after the test."""
    with ExitStack() as stack:
        yield lambda: Tab(stack.enter_context(closing(visitor.new_page())))


@pytest.fixture
def tab(open_tab: Callable[[], Tab]) -> Tab:
    """A tab of the visitor's."""
    return open_tab()
