"""Rows of `bench_load` for browsers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from playwright.sync_api import sync_playwright

from tests.bench.bench_browser import CHROMIUM_FLAGS, MLR_PAGE, TIMEOUT_MS, WLLAMA, install_wllama
from tests.bench.file_server import Answers, serve_files
from tests.bench.firefox import open_firefox
from tests.bench.load_job import CONTEXT, ROOT, SHORT_PROMPT, Job, Measured, Rows
from tests.bench.process_memory import children, peak, settled
from tests.conftest import find_chromium, find_firefox

__all__ = ["browser_rows"]

PAGES = Path(__file__).parent / "pages"
CLIENT = ROOT / "web" / "dist"
CHROMIUM, FIREFOX = "Chromium", "Firefox"
CLIENT_PAGE, WLLAMA_PAGE = "/pages/client.html", "/pages/wllama.html"

# JavaScript that loads from a URL, and that answers a prompt with as many tokens.
MLR_LOAD = """async ([url, threads, contextLength]) => {
  globalThis.model = await mlr.load(new URL(url, location.href).href, {threads, contextLength});
}"""
MLR_GENERATE = "([prompt, maxTokens]) => model.generate(prompt, {maxTokens, temperature: 0})"
MLR_READY = "globalThis.mlr?.load"
START_PYTHON = """() => new Promise((resolve, reject) => {
  globalThis.python = new Worker("/pages/python.mjs", {type: "module"});
  python.onerror = reject;
  python.onmessage = ({data: {type, name, message}}) => {
    if (type !== "progress") name === "FetchError" ? resolve() : reject(new Error(message));
  };
})"""
START_WORKERS = """(count) => {
  const empty = URL.createObjectURL(new Blob(["onmessage = () => {}"], {type: "text/javascript"}));
  globalThis.workers = Array.from({length: count}, () => new Worker(empty, {type: "module"}));
}"""


class BrowserPage(Protocol):
    """A page, as Playwright has them."""

    def goto(self, url: str, /) -> object:
        """Open another page."""

    def evaluate(self, expression: str, arg: Any = None, /) -> Any:
        """What a JavaScript function gives, or its promise."""


# A page that is empty, in a new browser with the profile of a folder, and its processes.
Visit = Callable[[Path], AbstractContextManager[tuple[BrowserPage, set[int]]]]


@dataclass(frozen=True)
class BrowserHost:
    """A page and JavaScript for it: what is there when it is ready, how to load and generate."""

    browser: str
    path: str
    model: str = "/bundle/"  # its URL
    ready: str = MLR_READY
    load: str = MLR_LOAD
    generate: str = MLR_GENERATE
    fills_context: bool = True
    idle: str = "() => undefined"  # what it is idle with besides …
    idle_workers: int = 0  # … in so many workers


HOSTS = {
    "Chromium, Python": BrowserHost(CHROMIUM, "/index.html", idle=START_PYTHON, idle_workers=1),
    "Chromium, JavaScript": BrowserHost(CHROMIUM, CLIENT_PAGE),
    "Firefox, Python": BrowserHost(
        FIREFOX, "/pages/python.html", idle=START_PYTHON, idle_workers=1
    ),
    "Firefox, JavaScript": BrowserHost(FIREFOX, CLIENT_PAGE),
    "wllama, Chromium": BrowserHost(
        CHROMIUM,
        WLLAMA_PAGE,
        "/model.gguf",
        "globalThis.ready",
        "([url, threads, context]) => openModel(url, threads, context)",
        "([prompt, count]) => complete(prompt, count)",
        fills_context=False,
    ),
}


def browser_rows(job: Job, stack: ExitStack) -> Rows:
    """Chromium, wllama in it, and Firefox; what they need is there until the stack is closed."""
    mounts = {
        "/pages": PAGES,
        "/client": CLIENT,
        "/wllama": WLLAMA,
        "/model.gguf": job.model,
        "/bundle": job.bundle,
        "": MLR_PAGE,
    }
    answers: Answers = {}
    url = stack.enter_context(serve_files(mounts, answers))
    folder = Path(stack.enter_context(TemporaryDirectory()))
    empty = url + "/pages/empty.html"
    visits: dict[str, Visit] = {}
    if chromium := find_chromium():
        visits[CHROMIUM] = partial(_open_chromium, chromium, empty)
    if firefox := find_firefox():
        visits[FIREFOX] = partial(open_firefox, firefox, empty, answers)
    rows: Rows = {}
    for name, host in HOSTS.items():
        if not job.wants(name):
            continue
        visit = visits.get(host.browser)
        if visit is None:
            rows[name] = f"there is no {host.browser}"
        else:
            measure = partial(_measure, host, url + host.path, visit, folder / name, job)
            rows[name] = _missing(host) or measure
    return rows


def _missing(host: BrowserHost) -> str | None:
    """Why a page cannot be opened, if so."""
    if host.path == CLIENT_PAGE and not CLIENT.is_dir():
        return "the npm package is not built, see `make package`"
    if host.path == WLLAMA_PAGE:
        try:
            install_wllama()
        except (OSError, subprocess.CalledProcessError) as error:
            return f"it could not be installed: {error}"
    return None


def _measure(host: BrowserHost, url: str, visit: Visit, profile: Path, job: Job) -> Measured:
    """Two visits with the profile of those before: one that stays idle, one with the model."""
    with visit(profile) as (page, roots):
        settled(roots)
        _open(page, url, host)
        opened = settled(roots)
        page.evaluate(START_WORKERS, job.threads - host.idle_workers)
        crowded = settled(roots)
        page.evaluate(host.idle)
        idle = settled(roots) if host.idle_workers else crowded
    with visit(profile) as (page, roots):
        empty = settled(roots)
        _open(page, url, host)
        own = settled(roots)  # what a browser has taken by now differs between visits
        with peak(roots) as most:
            load_ms = _timed(page, host.load, [host.model, job.threads, CONTEXT])
            first_token_ms = _timed(page, host.generate, [SHORT_PROMPT, 1])
            if host.fills_context:
                page.evaluate(host.generate, [job.long_prompt, 2])
    return Measured(
        load_ms,
        first_token_ms,
        peak_bytes=most.allocated - own.allocated - (idle.allocated - crowded.allocated),
        program_bytes=most.mapped - own.mapped - (idle.mapped - crowded.mapped),
        worker_bytes=crowded.allocated - opened.allocated,
        page_bytes=most.allocated - empty.allocated,
    )


def _open(page: BrowserPage, url: str, host: BrowserHost) -> None:
    """Go to the host's page, and wait until it is ready."""
    page.goto(url)
    page.evaluate(f"""async () => {{
      while (!({host.ready})) await new Promise((resolve) => setTimeout(resolve, 50));
    }}""")


def _timed(page: BrowserPage, function: str, argument: Any) -> float:
    """The milliseconds that a function takes, by the page's clock."""
    timed = f"""async (argument) => {{
      const start = performance.now();
      await ({function})(argument);
      return performance.now() - start;
    }}"""
    return float(page.evaluate(timed, argument))


@contextmanager
def _open_chromium(program: str, url: str, profile: Path) -> Iterator[tuple[BrowserPage, set[int]]]:
    with sync_playwright() as playwright:
        before = children(os.getpid())
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=program, args=CHROMIUM_FLAGS
        )
        context.set_default_timeout(TIMEOUT_MS)
        roots = children(os.getpid()) - before
        page = context.new_page()
        page.goto(url)
        yield page, roots
        context.close()
