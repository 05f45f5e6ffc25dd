"""A model that needs more memory than 32 bits address, through Python in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.conftest import Tab
from tests.browser.natively import natively
from tests.browser.site import serve_site
from tests.support.bundles import package

# 32 kB of KV cache a token; memory that nothing is written to is not taken.
CONTEXT = 5 << 15
SIZES: dict[str, Any] = {"n_layers": 8, "n_heads": 8, "n_kv_heads": 8, "head_dim": 128}


def test_more_than_4_gib(built_page: Path, tab: Tab, tmp_path: Path) -> None:
    bundle = package(tmp_path, context_length=CONTEXT, **SIZES)
    with serve_site({"/wide/": bundle, "/": built_page}) as site:
        site.texts["/bundles.json"] = b"[]"
        tab.page.goto(site.url)
        result = tab.run(
            """
            const model = await mlr.load("/wide/", {threads: 2, contextLength: x});
            const {tokenIds} = await model.generate("hello", {maxTokens: 10});
            const {info} = model;
            await model.close();
            return {tokenIds, info};
            """,
            CONTEXT,
        )
    expected = natively(bundle, lambda model: model.generate("hello", max_tokens=10).token_ids)
    assert result["tokenIds"] == expected
    assert result["info"]["memory"]["total"] > 2**32
    assert "64-bit addresses" in result["info"]["engineDetail"]
    assert tab.complaints == []
