"""What commands print."""

from __future__ import annotations

import json
import math

import pytest

from mlr.cli.output import (
    format_bytes,
    format_rate,
    load_progress,
    peak_memory_bytes,
    print_json,
    print_table,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (253 * 10**6, "241.3 MiB"),
        (2**30, "1.0 GiB"),
        (5 * 2**40, "5120.0 GiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_rates() -> None:
    assert format_rate(12.345) == "12.3 tokens/s"
    assert format_rate(None) == "-"


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "é\n😀", "none": None})
    assert json.loads(capsys.readouterr().out) == {"text": "é\n😀", "none": None}
    with pytest.raises(ValueError, match="JSON"):
        print_json({"number": math.nan})


def test_a_table_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title", [("a", "1"), ("long name", "2")])
    assert capsys.readouterr().out == "title\n  a          1\n  long name  2\n"


def test_no_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with load_progress("model") as report:
        assert report is None
    assert capsys.readouterr() == ("", "")


def test_peak_memory_is_in_bytes() -> None:
    peak = peak_memory_bytes()
    assert peak is not None
    assert 10 * 2**20 < peak < 2**40
