"""`mlr run`, on a bundle of random weights."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlr.cli.main import main

PROMPT = "hello"


def run_json(capsys: pytest.CaptureFixture[str], bundle: Path, *arguments: str) -> dict[str, Any]:
    assert main(["run", str(bundle), PROMPT, "--json", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)  # type: ignore[no-any-return]


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status and the one line on standard error."""
    status = main(["run", *arguments])
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"mlr: error: [^\n]+\n", err), err
    return status, err


# A shell's background jobs ignore SIGINT, and so would what they start.
MLR = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from mlr.cli.main import main
sys.exit(main())
"""


def start(bundle: Path, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", MLR, "run", str(bundle), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_text_and_statistics(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run_json(capsys, tiny_bundle, "--max-tokens", "5")["text"]
    assert main(["run", str(tiny_bundle), PROMPT, "--max-tokens", "5"]) == 0
    out, err = capsys.readouterr()
    assert out == text + "\n"
    for part in (r"5 tokens, [\d.]+ tokens/s", r"first token after \d+ ms", "kernel", "length"):
        assert re.search(part, err)


def test_json(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = run_json(capsys, tiny_bundle, "--max-tokens", "5")
    assert set(answer) == {
        "text",
        "token_ids",
        "prompt_token_ids",
        "finish_reason",
        "engine",
        "timings",
        "peak_memory_bytes",
    }
    assert set(answer["timings"]) == {
        "load_ms",
        "first_token_ms",
        "prompt_tokens_per_s",
        "decode_tokens_per_s",
        "cached_tokens",
        "guessed_tokens",
        "confirmed_tokens",
    }
    for name in ("cached_tokens", "guessed_tokens", "confirmed_tokens"):
        assert answer["timings"].pop(name) == 0
    assert all(value > 0 for value in answer["timings"].values())
    assert len(answer["token_ids"]) == 5
    assert answer["finish_reason"] == "length"
    assert answer["engine"] == "kernel"
    assert 2**20 < answer["peak_memory_bytes"] < 2**40


def test_greedy_is_repeatable_and_seeds_are(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ids(*arguments: str) -> list[int]:
        return run_json(capsys, tiny_bundle, "--max-tokens", "16", *arguments)["token_ids"]  # type: ignore[no-any-return]

    assert ids() == ids("--threads", "1") == ids("--temperature", "0", "--seed", "7")
    warm = ("--temperature", "1.5", "--top-k", "50", "--top-p", "0.95", "--min-p", "0.01")
    assert ids(*warm, "--seed", "7") == ids(*warm, "--seed", "7")
    assert ids(*warm, "--seed", "7") != ids(*warm, "--seed", "8")
    assert ids("--repeat-penalty", "1.8") != ids()


def test_stop(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = run_json(capsys, tiny_bundle, "--max-tokens", "20", "--temperature", "1", "--seed", "3")
    stop = whole["text"][4]
    answer = run_json(
        capsys,
        *(tiny_bundle, "--max-tokens", "20", "--temperature", "1", "--seed", "3"),
        *("--stop", "never there", "--stop", stop),
    )
    assert answer["finish_reason"] == "stop"
    assert answer["text"] == whole["text"].partition(stop)[0]


def test_a_full_context_ends_the_text(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = run_json(capsys, tiny_bundle, "--context-length", "16", "--max-tokens", "100")
    assert answer["finish_reason"] == "length"
    assert len(answer["prompt_token_ids"]) + len(answer["token_ids"]) in (16, 17)


def test_a_prompt_over_the_context(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, error = failure(capsys, str(tiny_bundle), "long " * 50, "--context-length", "16")
    assert status == 2
    assert "16" in error


def test_a_path_that_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a bundle" in failure(capsys, str(tmp_path), PROMPT)[1]
    assert failure(capsys, str(tmp_path / "nothing"), PROMPT)[0] == 3
    assert failure(capsys, "ftp://example.org/bundle", PROMPT)[0] == 2


def test_a_damaged_bundle(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "damaged")
    (shard,) = (bundle / "shards").iterdir()
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes(data)
    status, error = failure(capsys, str(bundle), PROMPT)
    assert status == 3
    assert shard.name in error
    shard.unlink()
    status, error = failure(capsys, str(bundle), PROMPT)
    assert status == 3
    assert shard.name in error


def test_an_empty_stop_is_wrong(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert failure(capsys, str(tiny_bundle), PROMPT, "--stop", "")[0] == 2


@pytest.mark.parametrize("arguments", [[], ["-"]])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_prompt_from_standard_input(
    tiny_bundle: Path, arguments: list[str], end: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(tiny_bundle, *arguments, "--json", "--max-tokens", "3", stdin=subprocess.PIPE)
    out, err = process.communicate(PROMPT.encode() + end, timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert (
        json.loads(out)["token_ids"]
        == run_json(capsys, tiny_bundle, "--max-tokens", "3")["token_ids"]
    )


def test_a_prompt_that_is_not_utf8(tiny_bundle: Path) -> None:
    process = start(tiny_bundle, stdin=subprocess.PIPE)
    _, err = process.communicate(b"abc\xff", timeout=60)
    assert process.returncode == 2
    assert err == b"mlr: error: the prompt on standard input is not valid UTF-8: byte 3\n"
    process = start(tiny_bundle, os.fsdecode(b"abc\xff"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == b"mlr: error: the prompt is not valid UTF-8\n"


def test_text_is_streamed(tiny_bundle: Path) -> None:
    """The first text is there long before the last."""
    with start(tiny_bundle, PROMPT, "--max-tokens", "4000", "--context-length", "8192") as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        first = time.monotonic()
        process.stdout.read()
        assert time.monotonic() - first > 0.3


def test_ctrl_c(tiny_bundle: Path) -> None:
    with start(tiny_bundle, PROMPT, "--max-tokens", "8000", "--context-length", "8192") as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == b""


def test_a_reader_that_goes_away(tiny_bundle: Path) -> None:
    with start(tiny_bundle, PROMPT, "--max-tokens", "8000", "--context-length", "8192") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.timeout(120)
def test_the_demo_model(demo_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["The capital of France is", "--max-tokens", "8", "--json"]
    assert main(["run", str(demo_bundle), *arguments]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["text"].startswith(" the capital of")
    assert answer["prompt_token_ids"][0] == 2


def test_a_schema_and_a_grammar_from_files(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    schema = {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 4}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    (tmp_path / "form.gbnf").write_text('root ::= "x" [0-9]{2}')
    bundle = str(tiny_bundle)
    assert main(["run", bundle, "hi", "--json-schema", str(tmp_path / "schema.json")]) == 0
    values = json.loads(capfd.readouterr().out)
    assert 2 <= len(values) <= 4
    assert set(values) <= {"a", "b"}
    assert main(["run", bundle, "hi", "--grammar", str(tmp_path / "form.gbnf"), "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert re.fullmatch(r"x\d\d", answer["text"])
    assert answer["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ('{"not": {}}', "'not' is not supported"), (None, "cannot be read")],
)
def test_a_schema_that_cannot_be_used(
    tiny_bundle: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    content: str | None,
    message: str,
) -> None:
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_text(content)
    assert main(["run", str(tiny_bundle), "hi", "--json-schema", str(path)]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert content is not None or "is not JSON" not in error


def test_a_draft_model(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = run_json(capsys, tiny_bundle, "--max-tokens", "40")
    drafted = run_json(capsys, tiny_bundle, "--max-tokens", "40", "--draft", str(tiny_bundle))
    assert drafted["token_ids"] == plain["token_ids"]
    status, err = failure(capsys, str(tiny_bundle), PROMPT, "--draft", "nowhere")
    assert status != 0
    assert "nowhere" in err
