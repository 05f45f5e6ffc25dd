"""`mlr tokenize`."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from mlr.cli.main import main


def test_json(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenize", str(tiny_bundle), "hello", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"ids", "pieces"}
    assert len(answer["ids"]) == len(answer["pieces"]) > 1
    assert "".join(answer["pieces"][1:]).endswith("hello")


def test_lines(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["tokenize", str(tiny_bundle), "hello", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert main(["tokenize", str(tiny_bundle), "hello"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [int(line.split()[0]) for line in lines] == answer["ids"]
    assert "'hello'" in lines[-1] or "'o'" in lines[-1]


def test_standard_input(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hello\n")))
    assert main(["tokenize", str(tiny_bundle), "-", "--json"]) == 0
    from_input = capsys.readouterr().out
    main(["tokenize", str(tiny_bundle), "hello", "--json"])
    assert capsys.readouterr().out == from_input


def test_the_weights_are_not_needed(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    shutil.rmtree(bundle / "shards")
    assert main(["tokenize", str(bundle), "hello", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ids"]


def test_a_damaged_tokenizer(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    with (bundle / "tokenizer.bin").open("ab") as file:
        file.write(b" ")
    assert main(["tokenize", str(bundle), "hello"]) == 3
    assert "tokenizer.bin" in capsys.readouterr().err
