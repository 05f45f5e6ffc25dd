"""What is pinned in several places is the same in all of them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

import mlr
import mlr_build

ROOT = Path(__file__).resolve().parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements" / "dev.lock").read_text(encoding="utf-8")


def locked() -> dict[str, set[Version]]:
    """Each package of the lock with its versions: some differ between Pythons."""
    found: dict[str, set[Version]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^\s;]+)", LOCK, re.MULTILINE):
        found.setdefault(name, set()).add(Version(version))
    return found


def required() -> list[Requirement]:
    """What pyproject.toml asks for: to build, to run, and to develop."""
    project = PYPROJECT["project"]
    lists = [
        PYPROJECT["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
    ]
    requirements = [Requirement(text) for texts in lists for text in texts]
    return [requirement for requirement in requirements if requirement.name != project["name"]]


def test_the_lock_has_what_is_required() -> None:
    versions = locked()
    for requirement in required():
        assert requirement.name in versions, f"{requirement}: run `make lock`"
        for version in versions[requirement.name]:
            assert version in requirement.specifier, f"{requirement}: run `make lock`"


def test_every_locked_package_has_a_hash() -> None:
    entries = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) >= len(required())
    assert not [entry for entry in entries if "--hash=sha256:" not in entry]


def test_one_version() -> None:
    version = PYPROJECT["project"]["version"]
    assert mlr.__version__ == mlr_build.__version__ == version
    assert json.loads((ROOT / "web" / "package.json").read_bytes())["version"] == version
