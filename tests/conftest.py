"""Fixtures that every test may use, and the rule that CI does not pass over a skip."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# Skips that are right even in CI: (start of the test's node id, part of the reason).
# Anything else that is skipped there fails, so that a missing tool cannot hide a test.
EXPECTED_SKIPS: tuple[tuple[str, str], ...] = ()

# What marks a test that asks for one of these fixtures.
MARKERS = {
    "demo_gguf": "demo_model",
    "demo_bundle": "demo_model",
    "chromium": "browser",
    "firefox": "browser",
}

FIREFOX_NAMES = ("firefox-esr", "firefox")
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def _missing(reason: str) -> NoReturn:
    """Skip, or in CI fail, because something that the tests need is not here."""
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def demo_gguf() -> Path:
    """The demo model's GGUF file (Gemma 3 270M, Q4_K_M, 253 MB)."""
    named = os.environ.get("MLR_DEMO_GGUF")
    path = Path(named) if named else CACHE / "models" / "gemma-3-270m-q4_k_m.gguf"
    if not path.is_file():
        _missing(
            f"the demo model is not at {path}: `make demo-model` gets it, "
            "or MLR_DEMO_GGUF names a copy"
        )
    return path


@pytest.fixture(scope="session")
def demo_bundle(demo_gguf: Path) -> Path:
    """The demo model's bundle, packaged anew whenever the code that packages has changed."""
    bundles = CACHE / "bundles"
    bundle = bundles / f"gemma-3-270m-{_packager_version(demo_gguf)}"
    if not (bundle / "manifest.json").is_file():
        shutil.rmtree(bundles, ignore_errors=True)
        bundles.mkdir(parents=True)
        command = [sys.executable, "-m", "mlr_build", "package", str(demo_gguf)]
        subprocess.run(
            [*command, "--out", str(bundle), "--name", "gemma-3-270m"], check=True, timeout=300
        )
    return bundle


def _packager_version(source: Path) -> str:
    """Twelve hexadecimal digits that change with the packaging code or its source."""
    digest = hashlib.sha256(f"{source.resolve()} {source.stat().st_size}".encode())
    for folder in ("runtime_py/mlr/formats", "runtime_py/mlr/bundle", "toolchain/mlr_build"):
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in {".py", ".json"}:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that Playwright can drive."""
    path = find_chromium()
    if path is None:
        _missing(
            "no Chromium found: `make test` installs one, or install Debian's package chromium, "
            "or MLR_CHROMIUM names the program"
        )
    return path


@pytest.fixture(scope="session")
def package() -> Path:
    """The built npm package."""
    path = ROOT / "web" / "dist"
    if not (path / "package.json").is_file():
        _missing("the npm package is not built: run `make package`")
    return path


@pytest.fixture(scope="session")
def script() -> Path:
    """The built script of edge workers."""
    path = ROOT / "toolchain" / "mlr_build" / "edge" / "worker.js"
    if not path.is_file():
        _missing("the script of edge workers is not built: run `make page`")
    return path


@pytest.fixture(scope="session")
def hosts() -> Path:
    """The programs that the npm package is run in."""
    path = ROOT / "tests" / "edge" / "node_modules"
    if not (path / ".installed").is_file():
        _missing("the hosts of the npm package are not there: run `make hosts`")
    return path


@pytest.fixture(scope="session")
def firefox() -> str:
    """The path of a Firefox that can be driven over WebDriver BiDi."""
    path = find_firefox()
    if path is None:
        _missing(
            "no Firefox found: `make test` installs one as root on Debian, or install Debian's "
            "package firefox-esr, or MLR_FIREFOX names the program"
        )
    return path


def find_firefox() -> str | None:
    """A Firefox of the machine's, else None."""
    named = os.environ.get("MLR_FIREFOX")
    names = (named,) if named else FIREFOX_NAMES
    return next(filter(None, map(shutil.which, names)), None)


def find_chromium() -> str | None:
    """A Chromium of the machine's, else the one that Playwright installed, else None."""
    named = os.environ.get("MLR_CHROMIUM")
    if named:
        return shutil.which(named)
    for name in CHROMIUM_NAMES:
        if found := shutil.which(name):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
        return str(path) if path.is_file() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures they ask for, so that `-m` can choose among them."""
    for item in items:
        for name in getattr(item, "fixturenames", ()):
            if name in MARKERS:
                item.add_marker(MARKERS[name])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, turn a skip that is not expected into a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _refuse_skip(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a file that skips itself while it is being collected."""
    report = yield
    if report.skipped:
        _refuse_skip(report, collector.nodeid)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport, nodeid: str) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    expected = any(nodeid.startswith(start) and part in reason for start, part in EXPECTED_SKIPS)
    if IN_CI and not expected:
        report.outcome = "failed"
        report.longrepr = f"{nodeid}: a skip that CI does not expect: {reason}"
