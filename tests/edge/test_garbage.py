"""Workers give back what their start and the load leave behind, before the model computes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.edge.hosts import TERMINALS, terminal
from tests.support.bundles import package as package_bundle

THREADS = 3
PROGRAM = """
const { load } = await import("%s");
const model = await load("%s", { threads: %d });
await model.close();
"""


@pytest.mark.parametrize("host", TERMINALS)
def test_every_worker_has_collected(host: str, package: Path, hosts: Path, tmp_path: Path) -> None:
    """V8 says of each of its heaps, by address, when it has collected to take less memory."""
    program = tmp_path / "load.mjs"
    module, bundle = package / TERMINALS[host] / "mlr.js", package_bundle(tmp_path)
    program.write_text(PROGRAM % (module.as_uri(), bundle.as_uri(), THREADS), encoding="utf-8")
    name, *options = terminal(host)
    flag = "--v8-flags=--trace-gc" if host == "deno" else "--trace-gc"
    command = [name, *options[:1], flag, *options[1:], str(program)]
    trace = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    heaps = set(re.findall(r"^\[\d+:(0x\w+)\].* \(reduce\) ", trace.stdout, re.MULTILINE))
    assert len(heaps) == THREADS
