"""Patterns of strings: Python's own regular expressions say what they match."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.grammar.json_schema import schema_grammar
from mlr.grammar.matcher import Matcher
from tests.unit.grammar.json_texts import compact, draw_text

PATTERNS = [
    "^[a-z]+$",
    "^[0-9]{3}-[0-9]{4}$",
    "^(red|green|blue)?$",
    "b",
    "^a",
    "z$",
    "^a$|^b+c$",
    r"^\d{2}\.\w*$",
    r'^["\\/]\t$',
    "^[^a-z]{1,3}$",
    "^.{2}$",
    "^(ab?){2,}$",
    "^é世+$",
    r"^\u00e9\x41$",
    "^(?:x|y)(?<name>z)?$",
    "^[+-]?[a\\-c]$",
    "",
]


@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(pattern: str, data: st.DataObject, seed: int) -> None:
    schema = {"type": "string", "pattern": pattern}
    matcher = Matcher(schema_grammar(schema))
    python = pattern.replace("(?<name>", "(?P<name>").replace("$", r"\Z")
    text = draw_text(matcher, random.Random(seed), 12)
    assert re.search(python, json.loads(text)), text
    value = data.draw(st.text('ab"\\/cxyz.0129é世\t\n-+', max_size=6) | st.from_regex(python))
    # \d and \w are ASCII's in JSON Schema, and a text's \r and \u2028 end lines
    if value.isascii() or not re.search(r"\\[dw]|\.\{", pattern):
        assert matcher.accepts(compact(value)) == bool(
            re.search(
                python.replace("^.", r"^[^\n\r]", 1) if ".{" in python else python, value, re.ASCII
            )
            and value.encode("utf-8", "ignore").decode() == value
        ), value
