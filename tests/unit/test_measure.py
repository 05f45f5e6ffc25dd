"""The ratios that the benchmarks print."""

from __future__ import annotations

import json

import pytest

from tests.bench.measure import Row, report

ONE = Row("decode", 1, {"mlr": [9.0, 10.0, 50.0], "peer": [5.0]})
TWO = Row("decode", 2, {"mlr": [18.0], "peer": [6.0, 4.0]})


def test_ratios_are_of_medians() -> None:
    """One run that went astray changes nothing."""
    assert ONE.ratios() == {"peer": 2.0}


def test_several_threads_are_compared_with_the_fewest(capsys: pytest.CaptureFixture[str]) -> None:
    """Each engine with itself, in whichever order they were measured."""
    report("title", [TWO, ONE], [], as_json=True)
    (gain,) = json.loads(capsys.readouterr().out)["gains"]
    assert (gain["threads"], gain["against"]) == (2, 1)
    assert gain["gains"] == {"mlr": 1.8, "peer": 1.0}


def test_tables_have_a_column_for_each_peer(capsys: pytest.CaptureFixture[str]) -> None:
    """And one for the ratio to it; no second table where all had as many threads."""
    report("title", [ONE], ["a note"], as_json=False)
    printed = capsys.readouterr().out
    assert "mlr / peer" in printed
    assert "2.00×" in printed
    assert "a note" in printed
    assert "against" not in printed
