"""What goes wrong in a browser by itself ends in a clear state, and the model loads again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import Tab
from tests.browser.site import Site

# Before a kernel worker's script: it loads, says it is ready and then is not there, as browsers end
# workers.
SILENT = b"""
    const Instance = WebAssembly.Instance;
    WebAssembly.Instance = function (...given) {
      const {exports} = new Instance(...given);
      return {exports: {...exports, mlr_worker: () => close()}};
    };
"""

# A browser that has no memory left for a model.
SCARCE = b"""
    const Memory = WebAssembly.Memory;
    WebAssembly.Memory = function (limits) {
      if (limits.shared && limits.initial > 64) throw new RangeError("could not allocate memory");
      return new Memory(limits);
    };
"""


@pytest.fixture
def opened(site: Site, tab: Tab) -> Tab:
    """A tab with the playground."""
    site.texts["/bundles.json"] = b"[]"
    tab.page.goto(site.url)
    return tab


def test_a_thread_that_ended_without_a_word(opened: Tab, site: Site, built_page: Path) -> None:
    site.texts["/thread.js"] = SILENT + (built_page / "thread.js").read_bytes()
    failed = opened.run("""
        const model = await mlr.load("/bundles/tiny/", {threads: 2});
        try { await model.generate("hello", {maxTokens: 2}); } finally { await model.close(); }
    """)
    assert failed["error"] == "EngineError"
    assert "load the model again" in failed["message"]
    del site.texts["/thread.js"]
    opened.page.reload()
    said = opened.run("""
        const model = await mlr.load("/bundles/tiny/", {threads: 2});
        const {tokenIds} = await model.generate("hello", {maxTokens: 2});
        await model.close();
        return tokenIds.length;
    """)
    assert said == 2


@pytest.mark.parametrize("script", ["/thread.js", "/engine.js"])
def test_a_worker_whose_script_is_missing(opened: Tab, site: Site, script: str) -> None:
    site.missing.add(script)
    failed = opened.run("await mlr.load('/bundles/tiny/', {threads: 2})")
    assert failed["error"] == "EngineError"
    assert "could not be loaded" in failed["message"]


def test_memory_that_the_browser_refuses(opened: Tab, site: Site, built_page: Path) -> None:
    site.texts["/thread.js"] = SCARCE + (built_page / "thread.js").read_bytes()
    failed = opened.run("await mlr.load('/bundles/tiny/', {threads: 1})")
    assert failed["error"] == "CapacityError"
    assert "smaller contextLength" in failed["message"]
    assert site.asked("/shards/") == [], "the memory comes before the download"
