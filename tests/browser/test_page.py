"""The playground itself: without isolation, without models, by keyboard, on a small screen."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Tab
from tests.browser.site import Site

BUNDLES = [
    {
        "name": "tiny",
        "url": "/bundles/tiny/",
        "size": 2_274_112,
        "architecture": "llama",
        "quantization": "Q4_0",
        "task": "generate",
        "license": {"id": "none", "notice": "Random weights.", "url": None},
    }
]


@pytest.fixture
def opened(site: Site, tab: Tab) -> Iterator[Tab]:
    """A tab with the playground, offering the tiny model."""
    site.texts["/bundles.json"] = json.dumps(BUNDLES).encode()
    tab.open(site.url)
    yield tab
    assert tab.complaints == []


def test_without_isolation_one_thread_and_it_says_so(site: Site, tab: Tab) -> None:
    site.isolated = False
    site.texts["/bundles.json"] = json.dumps(BUNDLES).encode()
    tab.open(site.url)
    notice = tab.page.locator("#notices p")
    expect(notice).to_have_count(1)
    expect(notice).to_contain_text("one thread")
    tab.page.get_by_role("button", name="Load").click()
    expect(tab.page.locator("#where")).to_have_text("Ready")
    expect(tab.page.locator("#threads")).to_have_text("1")
    expect(notice).to_have_count(1)
    result = tab.run("""
        const model = await mlr.load("/bundles/tiny/", {threads: 2});
        const {tokenIds} = await model.generate("hello", {maxTokens: 4});
        await model.close();
        return {info: model.info, count: tokenIds.length};
    """)
    assert result["info"]["threads"] == 1
    assert result["info"]["isolated"] is False
    assert "cross-origin isolated" in result["info"]["notices"][0]
    assert result["count"] == 4
    assert tab.complaints == []


@pytest.mark.parametrize(("task", "reason"), [("embed", "into vectors"), ("rank", "documents")])
def test_a_model_that_gives_no_text(site: Site, tab: Tab, task: str, reason: str) -> None:
    """The page says what it is for, and offers neither to load it nor to generate."""
    other = {**BUNDLES[0], "name": "encoder", "task": task}
    site.texts["/bundles.json"] = json.dumps([*BUNDLES, other]).encode()
    tab.page.goto(site.url)
    load = tab.page.get_by_role("button", name="Load")
    said = tab.page.locator("#no-text")
    expect(load).to_be_enabled()
    expect(said).to_be_hidden()
    tab.page.locator("#bundle").select_option("encoder")
    expect(said).to_contain_text(reason)
    expect(said).to_contain_text("mlr embed")
    expect(load).to_be_disabled()
    expect(tab.page.get_by_role("button", name="Generate")).to_be_disabled()
    expect(tab.page.locator("#placeholder")).to_be_hidden()
    tab.page.locator("#bundle").select_option("tiny")
    expect(load).to_be_enabled()
    expect(said).to_be_hidden()
    expect(tab.page.locator("#placeholder")).to_be_visible()


def test_no_models(site: Site, tab: Tab) -> None:
    site.texts["/bundles.json"] = b"[]"
    tab.page.goto(site.url)
    expect(tab.page.get_by_role("alert")).to_contain_text("mlr serve BUNDLE")
    expect(tab.page.get_by_role("button", name="Load")).to_be_disabled()


def test_a_failed_load_can_be_tried_again(opened: Tab, site: Site, tiny_shards: list[str]) -> None:
    opened.run("await mlr.cache.clear('tiny')")
    site.missing.add(tiny_shards[1])
    opened.page.get_by_role("button", name="Load").click()
    expect(opened.page.get_by_role("alert")).to_contain_text("The download failed")
    opened.complaints.clear()  # Chromium's own line about the 404
    site.missing.clear()
    opened.page.get_by_role("button", name="Load").click()
    expect(opened.page.locator("#where")).to_have_text("Ready")
    expect(opened.page.get_by_role("alert")).to_be_hidden()


def test_by_keyboard_alone(opened: Tab) -> None:
    page = opened.page
    page.get_by_role("button", name="Load").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#where")).to_have_text("Ready")
    expect(page.get_by_label("Prompt")).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type("hello")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_contain_text("Done:")
    expect(page.get_by_role("button", name="Generate")).to_be_focused()


def test_every_control_has_a_name_and_every_id_is_used_once(opened: Tab) -> None:
    result = opened.run("""
        const controls = [...document.querySelectorAll("button, input, select, textarea")];
        const nameless = controls.filter((c) => !(c.textContent.trim() && c.tagName === "BUTTON")
          && !(c.labels?.length && c.labels[0].textContent.trim()));
        const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
        return {
          nameless: nameless.map((c) => c.outerHTML),
          twice: ids.filter((id, i) => ids.indexOf(id) !== i),
          lang: document.documentElement.lang,
          headings: document.querySelectorAll("h1").length,
          inline: document.querySelectorAll("script:not([src]), style, [style], [onclick]").length,
        };
    """)
    assert result == {"nameless": [], "twice": [], "lang": "en", "headings": 1, "inline": 0}


# WCAG's contrast of the text of these elements with what lies behind it.
CONTRAST = """
    const probe = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgba = (colour) => {
      probe.clearRect(0, 0, 1, 1);
      probe.fillStyle = colour;
      probe.fillRect(0, 0, 1, 1);
      return [...probe.getImageData(0, 0, 1, 1).data];
    };
    const luminance = (colour) => {
      const [r, g, b] = colour.map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
      const colour = rgba(getComputedStyle(element).backgroundColor);
      return colour[3] === 255 || !element.parentElement ? colour : behind(element.parentElement);
    };
    return x.map((selector) => {
      const element = document.querySelector(selector);
      const [a, b] = [rgba(getComputedStyle(element).color), behind(element)].map(luminance);
      return [selector, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(opened: Tab, scheme: str) -> None:
    opened.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    places = ["body", "h1 span", "#where", "#bundle-facts", "#load", "#placeholder", ".numbers dt"]
    for selector, contrast in opened.run(CONTRAST, [*places, "#error-name", "#stored", "#bundle"]):
        assert contrast >= 4.5, f"{selector}: {contrast:.2f}"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out(opened: Tab, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 800})
    widths = opened.run("const e = document.documentElement; return [e.scrollWidth, e.clientWidth]")
    assert widths[0] == widths[1]
