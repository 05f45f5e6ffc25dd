from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlr.bundle.http import HttpClient
from mlr.errors import FetchError, FormatError, RequestError, UnsupportedModelError
from mlr_build.cli import main
from mlr_build.plan import plan_bundle
from mlr_build.progress import Progress
from mlr_build.web_source import open_web
from tests.unit.bundle.faulty_server import Fault, FaultyServer, Reply, serve
from tests.unit.toolchain.test_package import one_tensor


@pytest.fixture
def server(model: Path, tmp_path: Path) -> Iterator[FaultyServer]:
    """Serves `model.gguf`, with 8 MB of padding behind the tensors."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(model.read_bytes() + bytes(8 << 20))
    with serve(folder) as running:
        yield running


def download(url: str, progress: Progress) -> bytes:
    client = HttpClient(timeout=20.0, sleep=lambda seconds: None)
    with open_web(url, progress, lambda seen: plan_bundle(seen, None), client) as opened:
        assert opened.stem == "model"
        return opened.source.read_at(0, opened.source.size)


def starts(server: FaultyServer) -> list[int]:
    return [start for _, start in server.requests]


def on_download(fault: Fault) -> Fault:
    """Spare the request that reads the header: it breaks off early."""
    seen = 0

    def apply(reply: Reply) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            fault(reply)

    return apply


def set_cut(after: int) -> Fault:
    return lambda reply: setattr(reply, "cut_after", after)


def etag(value: str) -> Fault:
    return lambda reply: reply.headers.update({"ETag": value})


def test_packaging_from_the_web(server: FaultyServer, tmp_path: Path, cache_dir: Path) -> None:
    out = tmp_path / "bundle"
    assert main(["package", server.url + "/model.gguf?key=secret", "--out", str(out)]) == 0
    text = (out / "manifest.json").read_text()
    assert f'"source": "{server.url}/model.gguf"' in text
    assert "secret" not in text
    assert not list(cache_dir.rglob("data")), "the download is removed when it has been packaged"


def test_a_cut_download_goes_on(server: FaultyServer, progress: Progress) -> None:
    whole = (server.folder / "model.gguf").read_bytes()
    server.always("", etag('"one"'))
    cut = on_download(set_cut(3_000_000))
    server.faults.append(cut)
    assert download(server.url + "/model.gguf", progress) == whole
    assert starts(server)[1:4] == [0, 3_000_000, 6_000_000]


def test_a_file_that_changes_on_the_way_is_begun_anew(
    server: FaultyServer, progress: Progress
) -> None:
    path = server.folder / "model.gguf"
    versions = iter(['"a"', '"a"', '"b"', '"b"'])
    server.faults.append(lambda reply: reply.headers.update({"ETag": next(versions)}))
    server.faults.append(on_download(set_cut(3_000_000)))
    server.faults.append(lambda reply: setattr(reply, "cut_after", None) if cut_enough() else None)
    count = 0

    def cut_enough() -> bool:
        nonlocal count
        count += 1
        return count > 3

    assert download(server.url + "/model.gguf", progress) == path.read_bytes()
    assert starts(server)[1:] == [0, 3_000_000, 0]


def test_what_arrived_is_kept_for_the_next_run(
    server: FaultyServer, progress: Progress, cache_dir: Path
) -> None:
    server.always("", etag('"one"'))
    url = server.url + "/model.gguf"

    def fall_silent(reply: Reply) -> None:
        reply.cut_after = 2_000_000 if reply.start == 0 else 0

    server.faults.append(on_download(fall_silent))
    with pytest.raises(FetchError, match="what has arrived is kept"):
        download(url, progress)
    server.faults[1:] = []
    server.requests.clear()
    assert download(url, progress) == (server.folder / "model.gguf").read_bytes()
    assert starts(server)[-1] == 2_000_000
    assert not list(cache_dir.rglob("data"))


def test_what_cannot_run_is_refused_after_its_header(
    server: FaultyServer, progress: Progress, cache_dir: Path
) -> None:
    one_tensor(server.folder / "model.gguf", "mamba")
    with pytest.raises(UnsupportedModelError, match="architecture 'mamba' is not supported"):
        download(server.url + "/model.gguf", progress)
    assert not list(cache_dir.rglob("data"))


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (lambda reply: setattr(reply, "status", 404), FetchError, "404 .*: there is no such file"),
        (lambda reply: setattr(reply, "status", 403), FetchError, "403 .*: access is refused"),
        (lambda reply: setattr(reply, "with_length", False), FetchError, "how large the file is"),
        (lambda reply: setattr(reply, "body", b""), UnsupportedModelError, "an empty file"),
        (
            lambda reply: setattr(reply, "body", b"<!doctype html>log in"),
            UnsupportedModelError,
            "a web page",
        ),
        (lambda reply: setattr(reply, "body", reply.body[:2000]), FormatError, "truncated"),
    ],
)
def test_what_the_server_may_answer(
    server: FaultyServer, progress: Progress, fault: Fault, error: type[Exception], message: str
) -> None:
    server.always("", fault)
    with pytest.raises(error, match=message):
        download(server.url + "/model.gguf", progress)


class StopError(Exception):
    """What came after a download failed."""


@pytest.mark.parametrize("size", [8 << 20, 100])
def test_a_whole_file_of_an_earlier_run_is_kept(
    server: FaultyServer, progress: Progress, cache_dir: Path, size: int
) -> None:
    """Unless the server has another one by now, maybe a shorter one."""
    url = server.url + "/model.gguf"
    with pytest.raises(StopError), open_web(url, progress, lambda _: None):
        raise StopError
    path = server.folder / "model.gguf"
    server.requests.clear()
    if size == 100:
        path.write_bytes(path.read_bytes()[: -(8 << 20) + size])
        server.always("", etag("another"))
    assert download(url, progress) == path.read_bytes()
    whole = path.stat().st_size
    assert starts(server) == ([0, 0] if size == 100 else [0, whole - 1])
    assert not list(cache_dir.rglob("data"))


def test_an_address_that_is_none(progress: Progress) -> None:
    with (
        pytest.raises(RequestError, match="not a valid URL"),
        open_web("https://[::1/x.gguf", progress, None),
    ):
        pass
