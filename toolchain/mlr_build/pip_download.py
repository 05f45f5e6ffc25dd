"""Download wheels with pip into a folder, and use again what is there."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from mlr.bundle.cache import storage_error
from mlr.errors import FetchError
from mlr_build.progress import Advance, Progress
from mlr_build.wheels import normalize

__all__ = ["download_wheel"]

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


def download_wheel(name: str, version: str | None, store: Path, progress: Progress) -> Path:
    """The wheel of a package, from `store` when its version is known, else from the index.

    `name` is normalized. Raises `FetchError` when pip cannot get it.
    """
    if version is not None:
        for path in store.glob("*.whl"):
            if _identity(path) == (name, version):
                return path
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            f"pypi:{name}: packages are downloaded with pip, which is not installed here; "
            "python -m ensurepip installs it"
        )
    requirement = name if version is None else f"{name}=={version}"
    try:
        with tempfile.TemporaryDirectory(prefix="incoming-", dir=store) as folder:
            _run_pip(requirement, Path(folder), progress)
            wheels = list(Path(folder).glob("*.whl"))
            if len(wheels) != 1 or _identity(wheels[0])[0] != name:
                raise FetchError(f"pypi:{requirement}: pip downloaded no wheel of that name")
            return wheels[0].replace(store / wheels[0].name)
    except OSError as error:
        raise storage_error(error, store, 0) from error


def _identity(path: Path) -> tuple[str, str]:
    """A wheel's normalized name and its version, from its file name."""
    name, _, rest = path.name.partition("-")
    return normalize(name), rest.partition("-")[0]


def _run_pip(requirement: str, folder: Path, progress: Progress) -> None:
    style = "raw" if _pip_version() >= (24, 1) else "off"
    # -P: nothing is imported from the current folder. Only wheels: no code of a package is run.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--no-cache-dir"]
    command += ["--progress-bar", style, "--dest", str(folder), requirement]
    if style == "off":
        progress.note(f"Downloading {requirement}")
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    complaints: list[str] = []
    reader = threading.Thread(target=complaints.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        _follow(process.stdout, f"Downloading {requirement}", progress)
        status = process.wait()
        reader.join()
    finally:
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    if status:
        raise FetchError(f"pypi:{requirement}: {_explain(complaints)}")


def _follow(lines: Iterable[str], title: str, progress: Progress) -> None:
    """Show the progress that pip prints; the size is known from its first such line on."""
    with contextlib.ExitStack() as stack:
        advance: Advance | None = None
        done = 0
        for line in lines:
            match = _PROGRESS.search(line)
            if not match:
                continue
            if advance is None:
                advance = stack.enter_context(progress.step(title, int(match[2])))
            advance(int(match[1]) - done)
            done = int(match[1])


def _pip_version() -> tuple[int, ...]:
    numbers = re.findall(r"\d+", importlib.metadata.version("pip"))
    return tuple(int(number) for number in numbers[:2])


def _explain(complaints: list[str]) -> str:
    errors = [line[6:].strip() for line in complaints if line.startswith("ERROR:")]
    detail = errors[-1] if errors else "".join(complaints[-1:]).strip() or "pip failed"
    network = any("NewConnectionError" in line or "Retrying" in line for line in complaints)
    advice = "check the network and try again" if network else "check the name and the network"
    return f"pip could not download it ({detail:.300}); {advice}"
