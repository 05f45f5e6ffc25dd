"""The hosts that run the npm package, each behind one call: a job goes in, answers come out.

Their programs are those of `tests/edge/node_modules` (`make hosts`), and the machine's Firefox.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

from tests.browser.site import Site
from tests.conftest import ROOT

__all__ = [
    "MODULES",
    "PROGRAMS",
    "TERMINALS",
    "ask_firefox",
    "ask_internals",
    "ask_terminal",
    "ask_workerd",
    "node",
    "printed",
    "terminal",
    "workerd",
]

EDGE = ROOT / "tests" / "edge"
PROGRAMS = EDGE / "programs"
MODULES = EDGE / "node_modules"
TERMINALS = {"node 20": "node", "node 24": "node", "deno": "deno"}  # and the package's folder
SECONDS = 240
# No pages but ours, and nothing that fetches by itself.
FIREFOX_PREFERENCES = (
    '"browser.aboutwelcome.enabled", false',
    '"browser.shell.checkDefaultBrowser", false',
    '"browser.startup.homepage_override.mstone", "ignore"',
    '"datareporting.policy.dataSubmissionEnabled", false',
    '"network.captive-portal-service.enabled", false',
)

_MACHINE = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "")
_SYSTEM = platform.system().lower()


def node(version: int) -> str:
    """The path of a Node.js."""
    return str(MODULES / f"node{version}-{_SYSTEM}-{_MACHINE}" / "bin" / "node")


def _one(pattern: str) -> str:
    (path,) = MODULES.glob(pattern)
    return str(path)


def terminal(host: str) -> list[str]:
    """How a host of the terminal runs a module."""
    if host == "deno":
        return [_one("@deno/*/deno"), "run", "-A", "--no-lock", "--node-modules-dir=none"]
    return [node(int(host.removeprefix("node ")))]


def ask_terminal(host: str, package: Path, job: dict[str, Any], folder: Path) -> Any:
    """The answers of Node or Deno, with the package in `package`."""
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    module = (package / TERMINALS[host] / "testing.js").as_uri()
    program = str(PROGRAMS / "terminal.mjs")
    return printed([*terminal(host), program, module, path.as_uri()])


def ask_internals(package: Path, tasks: list[dict[str, Any]], folder: Path) -> list[Any]:
    """What the package's own functions answer; see `internals.mjs`. Node 24 runs them."""
    path = folder / "tasks.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    module = (package / "node" / "testing.js").as_uri()
    answers = printed([node(24), str(PROGRAMS / "internals.mjs"), module, path.as_uri()])
    assert len(answers) == len(tasks)
    return list(answers)


def ask_firefox(firefox: str, site: Site, page: str, folder: Path) -> Any:
    """What a page of the site posts. Firefox is started with the page, on a profile of its own.

    It is not driven over WebDriver: with that listening, now and then a worker that starts many
    workers hangs.
    """
    (folder / "user.js").write_text("".join(f"user_pref({x});\n" for x in FIREFOX_PREFERENCES))
    program = [firefox, "--headless", "--no-remote", "--profile", str(folder), site.url + page]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return json.loads(site.posted.get(timeout=SECONDS))
    finally:
        process.terminate()
        process.wait(30)


def printed(arguments: list[str], seconds: float = SECONDS) -> Any:
    """The JSON that a program prints, within so many seconds."""
    run = subprocess.run(
        arguments, capture_output=True, text=True, cwd=EDGE, timeout=seconds, check=False
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout)


@contextmanager
def workerd(modules: dict[str, Path], assets: str = "") -> Iterator[str]:
    """The URL of a workerd that runs the given modules; `worker.mjs` is the worker.

    `assets` is the URL of a server that it has as `env.ASSETS`, whatever host it asks for.
    """
    kinds = {".wasm": "wasm", ".js": "esModule", ".mjs": "esModule"}
    with TemporaryDirectory() as folder:
        lines = []
        for number, (name, path) in enumerate(modules.items()):
            shutil.copyfile(path, Path(folder) / f"{number}{path.suffix}")
            lines.append(f'(name = "{name}", {kinds[path.suffix]} = embed "{number}{path.suffix}")')
        config = (PROGRAMS / "workerd.capnp").read_text(encoding="utf-8")
        file = Path(folder) / "config.capnp"
        config = config.replace("MODULES", ", ".join(lines))
        config = config.replace("ASSETS_ADDRESS", assets.removeprefix("http://") or "127.0.0.1:1")
        file.write_text(config, encoding="utf-8")
        # workerd says on a pipe which port it took; 1 is its standard output
        program = [_one("@cloudflare/workerd-*/bin/workerd"), "serve", str(file), "--control-fd=1"]
        process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            listening = json.loads(process.stdout.readline())
            yield f"http://127.0.0.1:{listening['port']}/"
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()


def ask_workerd(url: str, job: dict[str, Any]) -> Any:
    """The answers of a running `edge_worker.mjs`."""
    request = Request(url, json.dumps(job).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=SECONDS) as response:
        return json.load(response)
