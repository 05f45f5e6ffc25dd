"""A tab that is hidden or frozen in the middle of a generation goes on and says the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.devtools import Devtools, open_devtools
from tests.browser.natively import natively
from tests.browser.site import Site, serve_site

CLIENTS = {"Python": "/mlr.js", "JavaScript": "/package/browser/mlr.js"}
AFTER = 100  # tokens that come when it has been put away; then it is left
START = """
    const {load} = await import("CLIENT");
    globalThis.model = await load("/bundles/tiny/", {threads: 2});
    globalThis.ids = [];
    globalThis.states = [];
    let enough = Infinity;
    const heard = (state) => {
      states.push(state);
      if (state === "LAST") enough = ids.length + AFTER;
    };
    document.addEventListener("visibilitychange", () => heard(document.visibilityState));
    for (const name of ["freeze", "resume"]) document.addEventListener(name, () => heard(name));
    const stream = model.stream("hello", {maxTokens: 1e6});
    globalThis.said = (async () => {
      for await (const {id} of stream) {
        if (ids.push(id) >= enough) break;
      }
      return [ids.length === enough, ids];
    })();
"""


@pytest.fixture(scope="module")
def site(built_page: Path, package: Path, tiny_bundle: Path) -> Iterator[Site]:
    """Both clients, the tiny bundle, and an empty page."""
    folders = {"/bundles/tiny/": tiny_bundle, "/package/": package, "/": built_page}
    with serve_site(folders) as site:
        site.texts["/empty.html"] = b"<!doctype html>"
        yield site


@pytest.fixture(scope="module")
def devtools(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devtools]:
    with open_devtools(chromium, tmp_path_factory.mktemp("profile")) as devtools:
        yield devtools


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("how", ["hidden", "frozen"])
def test_it_goes_on(
    how: str, client: str, site: Site, devtools: Devtools, tiny_bundle: Path
) -> None:
    tab = devtools.open(f"{site.url}/empty.html")
    expected = ["hidden"] if how == "hidden" else ["hidden", "freeze", "resume"]
    script = START.replace("CLIENT", CLIENTS[client]).replace("AFTER", str(AFTER))
    devtools.run(tab, script.replace("LAST", expected[-1]))
    devtools.open("about:blank")  # in front of it
    if how == "frozen":
        devtools.call("Page.setWebLifecycleState", tab, state="frozen")
        before = _count(devtools, tab)
        time.sleep(0.5)
        assert _count(devtools, tab) == before, "no token comes while it is frozen"
        devtools.call("Page.setWebLifecycleState", tab, state="active")
    whole, said = devtools.run(tab, "return await said")
    assert whole, "the context was not full when it was put away"
    assert devtools.run(tab, "return states") == expected
    devtools.run(tab, "await model.close()")
    native = natively(tiny_bundle, lambda model: model.generate("hello", max_tokens=len(said)))
    assert said == native.token_ids


def _count(devtools: Devtools, tab: str) -> Any:
    """Of tokens; without a promise, which a frozen tab would not settle."""
    answer = devtools.call("Runtime.evaluate", tab, expression="ids.length", returnByValue=True)
    return answer["result"]["value"]
