"""`mlr-build` as a user runs it: a process, its output, its exit status, what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlr_build.cli import main
from tests.unit.toolchain.conftest import Command


def test_package_says_what_it_made(mlr_build: Command, model: Path, tmp_path: Path) -> None:
    done = mlr_build("package", model, "--out", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'bundle'}: tiny-llama-q4_0, llama Q4_0, ")
    assert "Packaging tiny-llama-q4_0" in done.stderr
    assert "Licence: unknown. The source does not say" in done.stderr
    assert (tmp_path / "bundle" / "manifest.json").is_file()


def test_json_is_one_object_on_standard_output(
    mlr_build: Command, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    done = mlr_build("package", model, "--out", out, "--shard-size", "128KiB", "--json")
    report = json.loads(done.stdout)
    assert report["path"] == str(out)
    assert report["shards"] == len(list((out / "shards").iterdir()))
    assert report["size"] == sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    assert report["architecture"] == "llama"


def test_an_existing_output_is_kept_without_force_and_replaced_with_it(
    mlr_build: Command, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    assert mlr_build("package", model, "--out", out, "--name", "first").returncode == 0
    done = mlr_build("package", model, "--out", out, "--name", "second")
    assert done.returncode == 2
    assert done.stderr.startswith("mlr-build: error: ")
    assert "--force" in done.stderr
    assert '"first"' in (out / "manifest.json").read_text()
    assert mlr_build("package", model, "--out", out, "--name", "second", "--force").returncode == 0
    assert '"second"' in (out / "manifest.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


@contextmanager
def closed_pipe() -> Iterator[int]:
    """A pipe to write to that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("arguments", [["inspect"], ["inspect", "--json"]])
def test_a_reader_that_goes_away(
    environment: dict[str, str], model: Path, arguments: list[str]
) -> None:
    command = [sys.executable, "-m", "mlr_build", *arguments, str(model)]
    with closed_pipe() as out:
        done = subprocess.run(
            command, env=environment, stdout=out, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_progress_that_nobody_reads(
    environment: dict[str, str], model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    command = [sys.executable, "-m", "mlr_build", "package", str(model), "--out", str(out)]
    with closed_pipe() as err:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=err, timeout=60, check=False
        )
    assert done.returncode == 0
    assert done.stdout.startswith(str(out).encode())
    assert (out / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["package"], "required: SOURCE, --out"),
        (["package", "x"], "required: --out"),
        (["package", "x", "--out", "y", "--unknown"], "unrecognized arguments: --unknown"),
        (["package", "x", "--out", "y", "--shard-size", "8MB"], "'8MB' is not a size such as"),
        (["convert"], "invalid choice"),
        (["inspect"], "required: PATH"),
    ],
)
def test_wrong_usage_has_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["package", "nowhere.gguf", "--out", "out"], 2, "there is no such file or folder"),
        (["package", "ftp://host/x", "--out", "out"], 2, "ftp: is not a kind of source"),
        (["package", "pypi:", "--out", "out"], 2, "must be pypi:NAME"),
        (["package", "pypi:--index-url=x", "--out", "out"], 2, "must be pypi:NAME"),
        (["package", "pypi:../evil", "--out", "out"], 2, "must be pypi:NAME"),
        (["package", "https://u:p@host/x", "--out", "out"], 2, "cannot hold a user name"),
        (["package", "broken.gguf", "--out", "out"], 3, "broken.gguf: version at byte 4"),
        (["package", "model.onnx", "--out", "out"], 4, "is ONNX; what can be packaged: GGUF"),
        (["package", "broken.gguf", "--out", "o", "--shard-size", "1"], 2, "multiple of 64 KiB"),
        (["package", "several", "--out", "out"], 2, "name one of them: a.gguf, b.gguf"),
        (["package", "other", "--out", "out"], 2, "no GGUF file; it holds m.onnx (ONNX)"),
        (
            ["package", "empty", "--out", "out"],
            2,
            "empty holds no GGUF file; what can be packaged: ",
        ),
        (["package", "bundle", "--out", "out"], 2, "bundle is a bundle already"),
        (["inspect", "nowhere"], 2, "there is no such file or folder"),
        (["inspect", "model.onnx"], 4, "is ONNX"),
        (["inspect", "bundle"], 3, "schema: must be"),
    ],
)
def test_errors_are_one_line_and_a_status(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx = b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x10" + bytes(16)
    Path("broken.gguf").write_bytes(b"GGUF" + bytes(100))
    Path("model.onnx").write_bytes(onnx)
    for folder in ("several", "other", "empty", "bundle"):
        Path(folder).mkdir()
    Path("several/a.gguf").write_bytes(b"GGUF" + bytes(100))
    Path("several/b.gguf").write_bytes(b"GGUF" + bytes(100))
    Path("other/m.onnx").write_bytes(onnx)
    Path("bundle/manifest.json").write_text("{}")
    before = sorted(tmp_path.iterdir())
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert last.startswith("mlr-build: error: ")
    assert message in last
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "ünï"], "--name ünï: has 'ü', 'ï'; a bundle's name is made of the letters"),
        (["--name", "///"], "--name ///: has none; a bundle's name"),
        (["--name", ""], "has none"),
        (["--name", "x" * 101], "has 101 characters, more than 100"),
        (["--quantize", "q8_0"], "is GGUF, which stays as it is; leave --quantize out"),
    ],
)
def test_what_cannot_be_done_as_asked_is_not_done_otherwise(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert main(["package", str(model), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_within_a_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "deep" / "out"
    assert main(["package", str(model), "--out", str(out)]) == 2
    assert f"{tmp_path / 'file'} is a file, not a folder" in capsys.readouterr().err


def test_help_has_examples(mlr_build: Command) -> None:
    assert "mlr-build package model.gguf --out" in mlr_build("package", "--help").stdout
    done = mlr_build("--help")
    assert "exit status" in done.stdout
    assert done.returncode == 0
    assert mlr_build("--version").stdout.startswith("mlr-build 0.")


# A shell's background jobs ignore SIGINT, and so would what they start.
SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import mlr_build.package as package
from mlr.formats.source import FileSource
read = FileSource.read_at
def slowly(self, offset, size):
    if size == 65536:  # a chunk: the shards are being written
        print("writing", flush=True)
        time.sleep(0.2)
    return read(self, offset, size)
FileSource.read_at = slowly
from mlr_build.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("force", [False, True])
def test_ctrl_c_has_status_130_and_leaves_what_was(
    model: Path, tmp_path: Path, environment: dict[str, str], mlr_build: Command, force: bool
) -> None:
    out = tmp_path / "bundle"
    if force:
        assert mlr_build("package", model, "--out", out, "--name", "old").returncode == 0
    command = [sys.executable, "-c", SLOW, "package", str(model), "--out", str(out)]
    command += ["--shard-size", "64KiB", *(["--force"] if force else [])]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "mlr-build: interrupted; nothing was left behind"
    assert sorted(path.name for path in tmp_path.iterdir()) == (["bundle"] if force else [])
    if force:
        assert '"old"' in (out / "manifest.json").read_text()


def test_a_bar_on_a_terminal(model: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """On a terminal progress is a bar; the terminal here is a real one, a pseudo-terminal."""
    import pty

    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "mlr_build", "package", str(model)]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "bundle")],
        env={**environment, "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    started = time.perf_counter()
    while time.perf_counter() - started < 30:
        try:
            part = os.read(master, 4096)
        except OSError:  # the other side has been closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert process.wait(10) == 0
    assert "━".encode() in shown
    assert b"Packaging tiny-llama-q4_0" in shown
