"""Runs a project that `mlr-build worker` wrote under workerd, with the bindings of its config."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.edge.hosts import MODULES, PROGRAMS

__all__ = ["Running", "read_config", "run_project"]


class Running(NamedTuple):
    """A worker that runs: its URL without a slash at the end, and its process."""

    url: str
    process: subprocess.Popen[str]

    def resident(self) -> int:
        """Bytes of memory that the process has now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (kilobytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        return 1024 * int(kilobytes)


def read_config(project: Path) -> dict[str, Any]:
    """`wrangler.jsonc` as data."""
    text = (project / "wrangler.jsonc").read_text(encoding="utf-8")
    config = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    assert isinstance(config, dict)
    return config


@contextmanager
def run_project(project: Path, **secrets: str) -> Iterator[Running]:
    """Run a project; `secrets` are bindings that are text, such as API_TOKEN.

    `worker_probe.mjs` stands in front of its script: it adds `GET /memory`, the bytes of every
    WebAssembly memory that was made.
    """
    config = read_config(project)
    assert config["main"] == "src/worker.js"
    bindings = [f'(name = "{config["assets"]["binding"]}", service = "public")']
    for name, value in {**config["vars"], **secrets}.items():
        kind = "text" if isinstance(value, str) else "json"
        bindings.append(f'(name = "{name}", {kind} = {_quoted(str(value))})')
    buckets = [bucket["binding"] for bucket in config.get("r2_buckets", ())]
    bindings += [f'(name = "{name}", service = "bucket")' for name in buckets]
    bucket_folder = project / ("bucket" if buckets else "public")
    flags = ", ".join(map(_quoted, config["compatibility_flags"]))
    with TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(project / "src", folder / "src")
        shutil.copyfile(PROGRAMS / "worker_probe.mjs", folder / "worker_probe.mjs")
        text = (PROGRAMS / "project.capnp").read_text(encoding="utf-8")
        for key, value in {
            "BINDINGS": ", ".join(bindings),
            "FLAGS": flags,
            "DATE": _quoted(config["compatibility_date"]),
            "PUBLIC": _quoted(str(project / config["assets"]["directory"])),
            "BUCKET": _quoted(str(bucket_folder)),
        }.items():
            text = text.replace(key, value)
        (folder / "config.capnp").write_text(text, encoding="utf-8")
        (program,) = MODULES.glob("@cloudflare/workerd-*/bin/workerd")
        # workerd says on a pipe which port it took; 1 is its standard output
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.capnp"), "--control-fd=1"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            listening = json.loads(process.stdout.readline())
            yield Running(f"http://127.0.0.1:{listening['port']}", process)
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()


def _quoted(text: str) -> str:
    return json.dumps(text)
