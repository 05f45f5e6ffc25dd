"""The safetensors of a Hugging Face folder: one file, or several that an index lists."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlr.errors import FormatError
from mlr.formats.safetensors import SafetensorsTensor, read_safetensors
from mlr.formats.source import ByteSource, FileSource
from mlr_build.huggingface import INDEX, WEIGHTS, read_json

__all__ = ["StoredTensor", "Weights", "open_weights", "weight_files"]

MAX_FILES = 1000
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")  # nothing of another folder


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor, and the file that it is in."""

    source: ByteSource
    tensor: SafetensorsTensor


Weights = dict[str, StoredTensor]


def weight_files(folder: Path) -> list[Path]:
    """The files that the tensors are in; raises `FormatError` for an index that is broken."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    return [folder / name for name in sorted(set(_places(folder).values()))]


@contextlib.contextmanager
def open_weights(folder: Path) -> Iterator[Weights]:
    """Every tensor by its name, to be read within the block.

    Raises `FormatError` for broken files, and unless they hold just what their index lists.
    """
    found: Weights = {}
    held: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for path in weight_files(folder):
            source = stack.enter_context(FileSource(path))
            for tensor in read_safetensors(source).tensors:
                if tensor.name in found:
                    raise FormatError(source.name, tensor.name, 0, f"is in {held[tensor.name]} too")
                found[tensor.name] = StoredTensor(source, tensor)
                held[tensor.name] = path.name
        if not (folder / WEIGHTS).is_file():
            listed = _places(folder)
            for name in sorted(listed.keys() | held.keys()):
                if listed.get(name) != held.get(name):
                    raise FormatError(
                        str(folder / INDEX),
                        name[:100],
                        0,
                        f"is listed in {listed.get(name, 'no file')}, "
                        f"and is in {held.get(name, 'none')}",
                    )
        yield found


def _places(folder: Path) -> dict[str, str]:
    """The file of each tensor, as the index says."""
    path = folder / INDEX
    places = read_json(path).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise FormatError(str(path), "weight_map", 0, "must map tensors to files")
    for file in places.values():
        if not isinstance(file, str) or not _FILE.fullmatch(file):
            raise FormatError(str(path), "weight_map", 0, f"has no file's name: {file!r:.60}")
    if len(set(places.values())) > MAX_FILES:
        raise FormatError(str(path), "weight_map", 0, f"lists more than {MAX_FILES} files")
    return places
