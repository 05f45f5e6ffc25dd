"""Every example in the documentation is run, and prints what is written under it.

`python` blocks are programs, `console` blocks are commands with their output, `html` blocks are
pages, `js` blocks the scripts of pages, and `mjs` blocks modules for Node.js, or edge workers if
they export anything. They run in a folder that has the demo model as
`model.gguf` and its bundle as `bundles/gemma-3-270m`. In an output, `…` stands for anything.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from _pytest.mark import ParameterSet

from tests.browser.site import serve_site
from tests.docs.blocks import ROOT, Block, blocks_of, commands_of, documents
from tests.edge.hosts import terminal, workerd

BLOCKS = [block for path in documents() for block in blocks_of(path)]
RUN = {"python", "console", "html", "js", "mjs"}
NOT_RUN = {"", "text"}  # pictures and outputs
SERVE = "mlr serve bundles/gemma-3-270m"
ADDRESS = "127.0.0.1:8000"  # in the documentation; the tests take a free port
PAGE = ROOT / "runtime_py" / "mlr" / "server" / "page"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def blocks_in(language: str) -> list[ParameterSet]:
    """The blocks of one language, as parameters of a test."""
    return [pytest.param(b, id=b.name) for b in BLOCKS if b.language == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo_gguf: Path, demo_bundle: Path) -> Path:
    """The folder in which the examples run."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "bundles").mkdir()
    (folder / "bundles" / "gemma-3-270m").symlink_to(demo_bundle)
    (folder / "model.gguf").symlink_to(demo_gguf)
    return folder


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """The environment with this interpreter's commands first."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def address(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Where `mlr serve` listens."""
    server = subprocess.Popen(
        [*SERVE.split(), "--port", "0"],
        cwd=folder,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        for line in server.stdout:
            if found := re.search(r"http://([\d.]+:\d+)/v1", line):
                yield found[1]
                break
        else:
            pytest.fail(f"the server ended with status {server.wait()}")
    finally:
        server.terminate()
        server.wait(30)
        server.stdout.close()


def localized(request: pytest.FixtureRequest, text: str) -> str:
    """The text with the address of the running server, which is started when it is needed."""
    if ADDRESS not in text:
        return text
    return text.replace(ADDRESS, request.getfixturevalue("address"))


def check_output(shown: str, printed: str) -> None:
    """Compare, `…` matching anything."""
    pattern = ".*".join(map(re.escape, shown.strip().split("…")))
    assert re.fullmatch(pattern, printed.strip(), re.DOTALL), f"printed:\n{printed}"


def test_every_block_is_run_by_a_test() -> None:
    languages = {block.language for block in BLOCKS}
    assert languages <= RUN | NOT_RUN
    assert languages >= {"python", "console", "html"}


@pytest.mark.parametrize("block", blocks_in("python"))
def test_python(
    block: Block, folder: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    code = localized(request, block.code)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0
    if block.output is not None:
        check_output(block.output, run.stdout)


@pytest.mark.parametrize("block", blocks_in("console"))
def test_console(
    block: Block, folder: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    for command, shown in commands_of(block):
        if command.startswith("make "):
            assert command.split()[1] in TARGETS
            continue
        if command.startswith("mlr serve"):
            assert command == SERVE
            request.getfixturevalue("address")
            continue
        run = subprocess.run(
            ["bash", "-c", localized(request, command)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=240,
            check=False,
        )
        assert run.returncode == 0, command
        if shown:
            check_output(shown, run.stdout)


@pytest.mark.parametrize("block", blocks_in("mjs"))
def test_module(block: Block, folder: Path, tmp_path: Path, package: Path, hosts: Path) -> None:
    if "export default" in block.code:
        check_worker(block, folder / "bundles", package, tmp_path)
        return
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "mlr").symlink_to(package)
    (tmp_path / "bundles").symlink_to(folder / "bundles")
    program = tmp_path / "example.mjs"
    program.write_text(block.code, encoding="utf-8")
    run = subprocess.run(
        [*terminal("node 24"), str(program)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
        check=True,
    )
    if block.output is not None:
        check_output(block.output, run.stdout)


def check_worker(block: Block, bundles: Path, package: Path, tmp_path: Path) -> None:
    """Run an edge worker that answers prompts, with the bundles as its assets."""
    worker = tmp_path / "worker.mjs"
    worker.write_text(block.code, encoding="utf-8")
    modules = {
        "worker.mjs": worker,
        "mlr": package / "workerd" / "mlr.js",
        "mlr/kernel-relaxed.wasm": package / "kernel-relaxed.wasm",
    }
    with serve_site({"/": bundles}) as site, workerd(modules, site.url) as url:
        request = Request(url, b"The three primary colours are")
        with urlopen(request, timeout=240) as response:
            assert response.read().decode() == " red, yellow and blue."


@pytest.mark.parametrize("block", [*blocks_in("html"), *blocks_in("js")])
def test_page(block: Block, folder: Path, chromium: str, package: Path) -> None:
    """The page lies beside the playground's files, the npm package and the bundle."""
    from playwright.sync_api import expect, sync_playwright

    script = f'<script type="module">{block.code}\ndocument.title = "done";</script>'
    body = f"<!doctype html><body>{script}" if block.language == "js" else block.code
    complaints: list[str] = []
    served = {"/node_modules/mlr/": package, "/bundles/": folder / "bundles", "/": PAGE}
    with serve_site(served) as site, sync_playwright() as playwright:
        site.texts["/example.html"] = body.encode()
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{site.url}/example.html")
        if block.language == "js":
            expect(page).to_have_title("done", timeout=120_000)
        if block.output is not None:
            expect(page.locator("body")).to_have_text(block.output.strip(), timeout=120_000)
        browser.close()
    assert not complaints
