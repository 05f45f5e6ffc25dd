"""`mlr bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlr.cli.main import main

SMALL = ["--prompt-tokens", "8", "--new-tokens", "4", "--repeat", "2"]


def test_json(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tiny_bundle), *SMALL, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["prompt_tokens"] == 8
    assert answer["new_tokens"] == 4
    assert answer["repeat"] == 2
    assert answer["engine"] == "kernel"
    assert set(answer["memory"]) == {"weights", "kv_cache", "scratch"}
    for name in ("load_ms", "first_token_ms", "prompt_tokens_per_s", "decode_tokens_per_s"):
        assert answer[name] > 0


def test_the_table(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tiny_bundle), *SMALL]) == 0
    out = capsys.readouterr().out
    for row in ("load", "first token", "prefill, 8 tokens", "decode, 4 tokens", "KV cache"):
        assert f"  {row}" in out


def test_more_than_the_context(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--prompt-tokens", "60", "--new-tokens", "60", "--context-length", "100"]
    assert main(["bench", str(tiny_bundle), *arguments]) == 2
    assert "100 tokens" in capsys.readouterr().err
