"""Shards on their way into the kernel: checked, resumed, stored, and emptied again."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from mlr_build.cli import main as mlr_build
from tests.browser.conftest import FLAGS, SHARD_SIZE, Tab
from tests.browser.natively import natively
from tests.browser.site import Site
from tests.conftest import find_chromium

CHUNK = 65536

LOAD = """
    const model = await mlr.load("/bundles/tiny/", {threads: 1});
    const {tokenIds} = await model.generate("hello", {maxTokens: 8});
    await model.close();
    return {tokenIds, notices: model.info.notices, fromSnapshot: model.info.fromSnapshot};
"""

# the n-th byte of a stored file is changed; without a name, of the only file in the folder
DAMAGE = """
    let place = await navigator.storage.getDirectory();
    for (const name of ["mlr", x.folder]) place = await place.getDirectoryHandle(name);
    const name = x.name ?? (await place.keys().next()).value;
    const file = await place.getFileHandle(name);
    const bytes = new Uint8Array(await (await file.getFile()).arrayBuffer());
    bytes[x.at] ^= 1;
    const writable = await file.createWritable();
    await writable.write(bytes);
    await writable.close();
"""

# in front of a worker's script: the collector comes before a handle can have answered
COLLECT = b"""
for (const [type, methods] of Object.entries({
  FileSystemDirectoryHandle: ["getDirectoryHandle", "getFileHandle"],
  FileSystemFileHandle: ["createSyncAccessHandle"],
})) {
  const prototype = globalThis[type].prototype;
  for (const name of methods) {
    const method = prototype[name];
    prototype[name] = function (...given) {
      const answer = method.apply(this, given);
      Promise.resolve().then(() => gc());
      return answer;
    };
  }
}
"""


@pytest.fixture
def opened(site: Site, tab: Tab) -> Tab:
    """A tab with the playground; no shard of the tiny model is stored."""
    site.texts["/bundles.json"] = b"[]"
    tab.page.goto(site.url)
    tab.run("await mlr.cache.clear('tiny')")
    return tab


@pytest.fixture(scope="module")
def expected(tiny_bundle: Path) -> list[int]:
    """What the tiny model says when it has arrived whole."""
    return natively(tiny_bundle, lambda model: model.generate("hello", max_tokens=8).token_ids)


def test_the_second_load_fetches_no_shards(
    opened: Tab, site: Site, tiny_shards: list[str], expected: list[int]
) -> None:
    assert opened.run(LOAD)["tokenIds"] == expected
    assert len(site.asked("/shards/")) == len(tiny_shards)
    site.seen.clear()
    second = opened.run(LOAD)
    assert second["tokenIds"] == expected
    assert second["fromSnapshot"] is True
    assert site.asked("/shards/") == []
    assert opened.complaints == []


def test_the_collector_may_come_at_any_time(
    browser: Browser, site: Site, built_page: Path, expected: list[int]
) -> None:
    """Chromium never answers for a handle that was collected after it was asked for something."""
    for script in ("engine.js", "thread.js"):
        site.texts[f"/{script}"] = COLLECT + (built_page / script).read_bytes()
    collecting = browser.browser_type.launch(
        executable_path=find_chromium(), args=[*FLAGS, "--js-flags=--expose-gc"]
    )
    with closing(collecting):
        tab = Tab(collecting.new_page())
        tab.page.goto(site.url)
        for from_snapshot in (False, True):
            answer = tab.run(LOAD)
            assert answer["tokenIds"] == expected
            assert answer["fromSnapshot"] is from_snapshot
    assert site.asked("/engine.js"), "its own script was served"


def test_the_cache_can_be_seen_and_emptied(opened: Tab, site: Site, tiny_bundle: Path) -> None:
    size = json.loads((tiny_bundle / "manifest.json").read_bytes())["variants"][0]["size"]
    opened.run(LOAD)
    entries = opened.run("return await mlr.cache.list()")
    assert entries[0] == {
        "name": "tiny",
        "location": f"{site.url}/bundles/tiny/",
        "size": size,
        "complete": True,
    }
    assert entries[1]["name"] == "Python"
    assert opened.run("return await mlr.cache.size()") > size + 10_000_000
    opened.run("await mlr.cache.clear('tiny')")
    assert [entry["name"] for entry in opened.run("return await mlr.cache.list()")] == ["Python"]
    opened.run("await mlr.cache.clear()")
    assert opened.run("return await mlr.cache.size()") == 0
    site.seen.clear()
    assert opened.run(LOAD)["fromSnapshot"] is False
    assert site.asked("/shards/") != []


def test_what_a_bundle_had_before_it_changed_goes_with_it(
    opened: Tab, site: Site, tiny_bundle: Path, tmp_path: Path
) -> None:
    """Its record names the new files only."""
    opened.run(LOAD)
    source, out = tiny_bundle.parent / "tiny.gguf", tmp_path / "tiny"
    command = ["package", str(source), "--out", str(out), "--name", "tiny"]
    assert mlr_build([*command, "--shard-size", str(2 * SHARD_SIZE)]) == 0
    for file in (out / "manifest.json", *(out / "shards").iterdir()):
        site.texts[f"/bundles/tiny/{file.relative_to(out)}"] = file.read_bytes()
    opened.run(LOAD)
    names = """
        const root = await navigator.storage.getDirectory();
        const shards = await (await root.getDirectoryHandle("mlr")).getDirectoryHandle("shards");
        return await Array.fromAsync(shards.keys());
    """
    there = {file.name for bundle in (tiny_bundle, out) for file in (bundle / "shards").iterdir()}
    assert set(opened.run(names)) == there
    opened.run("await mlr.cache.clear('tiny')")
    assert opened.run(names) == []


def test_a_flipped_bit_is_refused(
    opened: Tab, site: Site, tiny_shards: list[str], expected: list[int]
) -> None:
    wrong = tiny_shards[1]
    site.flips[wrong] = [3 * CHUNK + 5, 3 * CHUNK + 5]
    result = opened.run(LOAD)
    assert result["error"] == "IntegrityError"
    assert wrong in result["message"]
    assert "chunk 3" in result["message"]
    # what was right is kept, and the rest comes once the server is right
    site.seen.clear()
    assert opened.run(LOAD)["tokenIds"] == expected
    assert [seen.range for seen in site.asked(wrong)] == [f"bytes={3 * CHUNK}-{SHARD_SIZE - 1}"]


def test_a_bit_flipped_on_the_way_is_fetched_again(
    opened: Tab, site: Site, tiny_shards: list[str], expected: list[int]
) -> None:
    site.flips[tiny_shards[0]] = [CHUNK + 1]
    assert opened.run(LOAD)["tokenIds"] == expected
    ranges = [seen.range for seen in site.asked(tiny_shards[0])]
    assert ranges == ["", f"bytes={CHUNK}-{2 * CHUNK - 1}"]


def test_a_cut_connection_is_taken_up_again(
    opened: Tab, site: Site, tiny_shards: list[str], expected: list[int]
) -> None:
    site.cuts[tiny_shards[2]] = [2 * CHUNK + 100, CHUNK]
    assert opened.run(LOAD)["tokenIds"] == expected
    first, *later = (seen.range for seen in site.asked(tiny_shards[2]))
    assert first == ""
    assert len(later) == 2
    assert all(int(asked.removeprefix("bytes=").split("-")[0]) > 0 for asked in later)


def test_a_load_goes_on_where_the_last_one_broke(
    opened: Tab, site: Site, tiny_shards: list[str], expected: list[int]
) -> None:
    cut = tiny_shards[1]
    site.cuts[cut] = [4 * CHUNK + 7, *[0] * 20]
    result = opened.run(LOAD)
    assert result["error"] == "FetchError"
    assert cut in result["message"]
    site.cuts.clear()
    site.seen.clear()
    assert opened.run(LOAD)["tokenIds"] == expected
    assert [seen.range for seen in site.asked(cut)] == [f"bytes={4 * CHUNK}-{SHARD_SIZE - 1}"]
    assert site.asked(tiny_shards[0]) == []


def test_a_missing_shard(
    opened: Tab, site: Site, tiny_shards: list[str], expected: list[int]
) -> None:
    site.missing.add(tiny_shards[3])
    result = opened.run(LOAD)
    assert result["error"] == "FetchError"
    assert tiny_shards[3] in result["message"]
    assert "404" in result["message"]
    site.missing.clear()
    assert opened.run(LOAD)["tokenIds"] == expected


def test_damaged_storage_is_fetched_again(
    opened: Tab, site: Site, tiny_shards: list[str], expected: list[int]
) -> None:
    opened.run(LOAD)
    name = tiny_shards[0].rpartition("/")[2]
    opened.run(DAMAGE, {"folder": "shards", "name": name, "at": 5 * CHUNK})
    site.seen.clear()
    assert opened.run(LOAD)["tokenIds"] == expected
    assert [seen.range for seen in site.asked("/shards/")] == [
        f"bytes={5 * CHUNK}-{SHARD_SIZE - 1}"
    ]
    site.seen.clear()
    assert opened.run(LOAD)["tokenIds"] == expected
    assert site.asked("/shards/") == []


@pytest.mark.parametrize("at", [5, 1_000_000])  # in a size, and in the memory
def test_a_broken_snapshot_is_made_anew(opened: Tab, expected: list[int], at: int) -> None:
    opened.run(LOAD)
    opened.run(DAMAGE, {"folder": "snapshots", "at": at})
    broken = opened.run(LOAD)
    assert broken["tokenIds"] == expected
    assert broken["fromSnapshot"] is False
    assert opened.run(LOAD)["fromSnapshot"] is True


def test_full_storage(
    opened: Tab, site: Site, visitor: BrowserContext, expected: list[int]
) -> None:
    session = visitor.new_cdp_session(opened.page)
    used = opened.run("return (await navigator.storage.estimate()).usage")
    quota = {"origin": site.url, "quotaSize": used + 1_200_000}
    session.send("Storage.overrideQuotaForOrigin", quota)
    result = opened.run(LOAD)
    session.send("Storage.overrideQuotaForOrigin", {"origin": site.url})
    assert result["tokenIds"] == expected
    assert "storage is full" in result["notices"][0]


def test_two_tabs_load_at_once(opened: Tab, visitor: BrowserContext, expected: list[int]) -> None:
    results = opened.run("return await Promise.all([0, 1].map(async () => {" + LOAD + "}))")
    assert [result["tokenIds"] for result in results] == [expected, expected]
