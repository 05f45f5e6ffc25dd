from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mlr.errors import FormatError
from mlr.formats.source import BytesSource, FileSource, JoinedSource

DATA = bytes(range(256)) * 4


def test_bytes_and_files_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with FileSource(path) as file:
        for source in (file, BytesSource(DATA, "memory")):
            assert source.size == len(DATA)
            assert source.read_at(0, 0) == b""
            assert source.read_at(1000, 24) == DATA[1000:]
            assert source.read_at(300, 10) == DATA[300:310]


@pytest.mark.parametrize(("offset", "size"), [(1020, 5), (1024, 1), (5000, 1), (-1, 2), (0, -1)])
def test_reading_outside_names_the_offset(tmp_path: Path, offset: int, size: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with FileSource(path) as file:
        for source in (file, BytesSource(DATA, "memory"), JoinedSource([file], "joined")):
            with pytest.raises(FormatError) as caught:
                source.read_at(offset, size)
            assert caught.value.offset == max(offset, 0)


def test_joined_parts_read_as_one() -> None:
    parts = [BytesSource(DATA[a:b], "part") for a, b in [(0, 10), (10, 10), (10, 700), (700, 1024)]]
    joined = JoinedSource(parts, "joined")
    assert joined.size == len(DATA)
    for offset, size in [(0, 1024), (9, 2), (10, 690), (699, 2), (1023, 1), (1024, 0), (5, 0)]:
        assert joined.read_at(offset, size) == DATA[offset : offset + size]
    assert JoinedSource([], "nothing").read_at(0, 0) == b""


def test_a_file_that_shrinks_after_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with FileSource(path) as source:
        path.write_bytes(DATA[:100])
        with pytest.raises(FormatError, match="became shorter: 924 bytes are missing"):
            source.read_at(0, 1024)


@pytest.mark.parametrize("name", ["missing", ".", "nul\0byte"])
def test_what_cannot_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError):
        FileSource(f"{tmp_path}/{name}")


def test_reading_a_closed_file_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    source = FileSource(path)
    source.close()
    source.close()
    with pytest.raises(FormatError, match="cannot be read"):
        source.read_at(0, 1)


def test_several_threads_read_one_file(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA * 100)
    wrong: list[int] = []
    with FileSource(path) as source:

        def read(start: int) -> None:
            wrong.extend(
                offset
                for offset in range(start, len(DATA) * 99, 1013)
                if source.read_at(offset, 300) != (DATA * 100)[offset : offset + 300]
            )

        threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
