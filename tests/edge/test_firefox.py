"""What goes wrong in Firefox ends as it does everywhere else; one start of it runs all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.browser.site import serve_site
from tests.edge.hosts import PROGRAMS, ask_firefox
from tests.edge.test_faults import (
    CORRUPTING,
    SLOW,
    check_cancelled,
    check_closed,
    check_embedding,
    check_given_up,
    check_progress,
    check_trap,
)
from tests.support.bundles import package as package_bundle
from tests.support.bundles import package_embedder

# What stands before the script of the model's worker, by the name of a package; scenarios, each
# with its package, its bundle, and what has to come out.
SCRIPTS = {"package": "", "slow": SLOW, "trap": CORRUPTING}
SCENARIOS: list[tuple[str, str, str, Any]] = [
    ("progress", "package", "tiny", check_progress),
    ("cancelled", "package", "tiny", check_cancelled),
    ("closed", "package", "tiny", check_closed),
    ("given_up", "slow", "tiny", check_given_up),
    ("embedding", "slow", "embedder", check_embedding),
    ("trap", "trap", "tiny", check_trap),
]


def test_what_goes_wrong(package: Path, firefox: str, tmp_path: Path) -> None:
    """A progress function, signals, streams that are left, a closed model, a trap."""
    folders = {f"/{name}/": package for name in SCRIPTS} | {
        "/tiny/": package_bundle(tmp_path, n_layers=4, n_ff=1024, context_length=8192),
        "/embedder/": package_embedder(tmp_path, context_length=4096),
        "/programs/": PROGRAMS,
    }
    with serve_site(folders) as site:
        script = (package / "browser" / "worker.js").read_bytes()
        for name, before in SCRIPTS.items():
            site.texts[f"/{name}/browser/worker.js"] = before.encode() + script
        jobs = [(f"/{changed}/browser/mlr.js", f"/{on}/", one) for one, changed, on, _ in SCENARIOS]
        site.texts["/job.json"] = json.dumps(jobs).encode()
        site.texts["/page.html"] = (PROGRAMS / "faults.html").read_bytes()
        answers = ask_firefox(firefox, site, "/page.html", tmp_path)
    assert "error" not in answers, answers["error"]
    for name, _, _, check in SCENARIOS:
        check(answers[name])
