"""A model split into several GGUF files, read as the one file that they were.

Split files are named `NAME-00001-of-00003.gguf`. The first has the metadata, each has some of the
tensors, and `split.no`, `split.count` and `split.tensors.count` in each say which part it is. Here
a new header is made and the tensors' bytes stay where they are: they are read from the parts.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlr.errors import FormatError, RequestError
from mlr.formats.ggml_types import TYPES
from mlr.formats.gguf import GgufFile, read_gguf
from mlr.formats.source import ByteSource, BytesSource, JoinedSource, check_range

__all__ = ["first_part", "join_parts", "part_paths", "split_name"]

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
MAX_PARTS = 1000

_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


class _Range:
    """Some bytes of another source."""

    def __init__(self, source: ByteSource, start: int, size: int) -> None:
        self.name = source.name
        self.size = size
        self._source = source
        self._start = start

    def read_at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes from `offset` on."""
        check_range(self, offset, size)
        return self._source.read_at(self._start + offset, size)


def split_name(path: Path) -> tuple[str, int] | None:
    """The model's name and the number of parts, when `path` is named as one of several."""
    match = _NAME.fullmatch(path.name)
    if match is None or int(match["count"]) < 2:
        return None
    return match["stem"], int(match["count"])


def part_paths(path: Path) -> list[Path]:
    """The files of the split model that `path` is a part of, in order.

    Raises `RequestError` for a name that cannot be and for parts that are not there.
    """
    named = split_name(path)
    if named is None:
        raise RequestError(f"{path} is not named like a part of a split model")
    stem, count = named
    if count > MAX_PARTS:
        raise RequestError(f"{path}: a model of {count} parts is not supported, {MAX_PARTS} are")
    names = (f"{stem}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))
    paths = [path.with_name(name) for name in names]
    missing = [part.name for part in paths if not part.is_file()]
    if missing:
        raise RequestError(
            f"{path} is one of {count} parts, and of the others {len(missing)} are not beside it: "
            f"{', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}; get them, too"
        )
    return paths


def first_part(paths: Sequence[Path]) -> Path | None:
    """The first of `paths` by name when all of them are named as parts of one split model."""
    names = {split_name(path) for path in paths}
    return min(paths) if len(names) == 1 and None not in names else None


def join_parts(parts: Sequence[ByteSource], name: str) -> JoinedSource:
    """The model of which `parts` are all parts, in order, as one GGUF file.

    Its metadata are those of the first without `split.*`, its tensors those of all of them in
    their order, each aligned. Raises `FormatError` for parts that do not belong together.
    """
    files = [read_gguf(part) for part in parts]
    first = files[0]
    for index, file in enumerate(files):
        _check_part(file, index, files)
    _check_tensors(files)

    metadata, count = _raw_metadata(parts[0], first)
    infos = bytearray()
    data: list[ByteSource] = []
    offset = 0
    for part, file in zip(parts, files, strict=True):
        for tensor in file.tensors:
            padding = -offset % first.alignment
            data += [BytesSource(bytes(padding), name), _Range(part, tensor.offset, tensor.size)]
            offset += padding
            encoded = tensor.name.encode("utf-8")
            infos += struct.pack("<Q", len(encoded)) + encoded
            infos += struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape[::-1])
            infos += struct.pack("<IQ", TYPES[tensor.type].id, offset)
            offset += tensor.size
    n_tensors = sum(len(file.tensors) for file in files)
    header = b"GGUF" + struct.pack("<IQQ", first.version, n_tensors, count) + metadata + infos
    header += bytes(-len(header) % first.alignment)
    end = BytesSource(bytes(-offset % first.alignment), name)
    return JoinedSource([BytesSource(header, name), *data, end], name)


def _check_part(file: GgufFile, index: int, files: Sequence[GgufFile]) -> None:
    """What a part says about the whole agrees with the others."""
    first = files[0]
    expected = {NUMBER: index, COUNT: len(files), TENSORS: first.metadata.get(TENSORS)}
    for key, value in expected.items():
        found = file.metadata.get(key)
        if not isinstance(found, int) or isinstance(found, bool) or found != value:
            problem = f"must be {value} in part {index + 1} of {len(files)}, is {found!r:.40}"
            if value is None:
                problem = "is missing: this is not a part of a split model"
            raise FormatError(file.name, key, file.offsets.get(key, 0), problem)
    for key, value in file.metadata.items():
        if _is_split(key) or key == "general.alignment":
            continue
        if key not in first.metadata or not _same(first.metadata[key], value):
            raise FormatError(
                file.name,
                key,
                file.offsets[key],
                f"is not what {first.name} says: the parts belong to different models",
            )


def _check_tensors(files: Sequence[GgufFile]) -> None:
    """As many tensors as promised, none twice."""
    seen: dict[str, GgufFile] = {}
    for file in files:
        for tensor in file.tensors:
            if tensor.name in seen:
                raise FormatError(
                    file.name,
                    tensor.name,
                    file.offsets[tensor.name],
                    f"this tensor is in {seen[tensor.name].name}, too",
                )
            seen[tensor.name] = file
    promised = files[0].metadata[TENSORS]
    if len(seen) != promised:
        raise FormatError(
            files[0].name,
            TENSORS,
            files[0].offsets[TENSORS],
            f"says {promised}, but the parts have {len(seen)} tensors together",
        )


def _raw_metadata(source: ByteSource, file: GgufFile) -> tuple[bytes, int]:
    """The bytes of the key-value pairs without `split.*`, and how many they are."""
    starts = [start for start, _ in file.key_ranges.values()]
    if not starts:
        return b"", 0
    base = starts[0]
    block = source.read_at(base, max(end for _, end in file.key_ranges.values()) - base)
    kept = [
        block[start - base : end - base]
        for key, (start, end) in file.key_ranges.items()
        if not _is_split(key)
    ]
    return b"".join(kept), len(kept)


def _is_split(key: str) -> bool:
    return key.startswith("split.")


def _same(first: Any, second: Any) -> bool:
    """Equality that takes NaN for equal to itself and 1 for different from true."""
    return repr(first) == repr(second)
