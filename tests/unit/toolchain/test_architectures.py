"""Every architecture can be packaged, and what a bundle says of it can be read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlr_build.describe import describe_source
from mlr_build.plan import plan_bundle
from mlr_build.progress import open_progress
from mlr_build.sources import open_source
from tests.support.architectures import CASES, ArchitectureCase


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_bundle_can_be_made(case: ArchitectureCase, tmp_path: Path) -> None:
    path = case.build(tmp_path, "Q8_0")
    with open_source(str(path), open_progress()) as opened:
        plan, found = plan_bundle(opened, None), describe_source(opened)
    assert plan.config.architecture == found["architecture"] == case.config.architecture
    assert found["problem"] is None
    cache = found["requirements"]["kv_cache_bytes"]["128"]
    assert cache > 0 if case.config.causal else cache == 0
