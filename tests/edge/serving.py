"""A bundle served by each host's own entry program, all with the handler of `edge/handler`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from mlr_build.progress import open_progress
from mlr_build.worker import make_worker
from tests.conftest import ROOT
from tests.edge.hosts import terminal
from tests.edge.worker_project import run_project

__all__ = ["HOSTS", "serve", "server_program"]

HOSTS = ["workerd", "node 20", "deno"]


@contextmanager
def server_program(host: str, package: Path) -> Iterator[Path]:
    """The entry program of Node.js or Deno, where it finds the package."""
    folder = ROOT / "edge" / ("deno" if host == "deno" else "node")
    with TemporaryDirectory() as copy:
        if host == "deno":
            config = (folder / "deno.json").read_text(encoding="utf-8")
            assert (folder / "../../web/dist").resolve() == ROOT / "web" / "dist"
            config = config.replace("../../web/dist/", f"{package.as_uri()}/")
            (Path(copy) / "deno.json").write_text(config, encoding="utf-8")
        else:  # as after `npm install`
            (Path(copy) / "node_modules").mkdir()
            (Path(copy) / "node_modules" / "mlr").symlink_to(package)
        yield Path(shutil.copy(folder / "server.mjs", copy))


@contextmanager
def serve(
    host: str,
    bundle: Path,
    package: Path,
    context_length: int,
    errors: IO[str] | None = None,
    **variables: str,
) -> Iterator[str]:
    """The URL of a server of `bundle`, without `/v1`; `variables` such as API_TOKEN.

    What a server of Node.js or Deno says on its standard error goes to `errors`.
    """
    if host == "workerd":
        with TemporaryDirectory() as folder:
            out = Path(folder) / "project"
            make_worker(bundle, out, open_progress(), context_length=context_length)
            with run_project(out, **variables) as running:
                yield running.url
        return
    with server_program(host, package) as program:
        arguments = [str(bundle), "--port", "0", "--context-length", str(context_length)]
        process = subprocess.Popen(
            [*terminal(host), str(program), *arguments, "--threads", "1"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=program.parent,
            env={**os.environ, **variables},
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.search(r"http://\S+(?=/v1$)", line.strip())
            assert found, f"the server said {line!r}"
            yield found[0]
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()
