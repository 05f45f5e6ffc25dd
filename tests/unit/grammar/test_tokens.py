"""Token masks against brute force: a token is allowed where the grammar takes its bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.grammar.gbnf import parse_gbnf
from mlr.grammar.json_schema import json_object_grammar, schema_grammar
from mlr.grammar.matcher import Matcher, State
from mlr.grammar.tokens import TokenMasks

TEXTS = [
    *(chr(code) for code in range(128)),
    *(a + b for a in 'abz019 {}[]":,\\-.\n' for b in 'abz019 {}[]":,\\-.\n'),
    *("true", "false", "null", '":"', '": "', '","', '"}', '"]', '"},{"', "é", "éa", " 世界", "😀"),
    *(
        "name",
        '"name',
        '"name":',
        "\\u00",
        "\\ud83d\\ude00",
        "12345",
        "2024-",
        "hello world",
        "   ",
    ),
]
VOCABULARY = [
    *(text.encode() for text in TEXTS),
    *(bytes((byte,)) for byte in range(128, 256)),
    *("é".encode()[:1] + b"", "a é".encode()[:3], "世".encode()[1:], "世".encode()[:2]),
    *(b"", b"", b"dup", b"dup", b"\xff\xfe", b"ab\xc3"),
]
ENDS = [7, len(VOCABULARY) + 3]

GRAMMARS = [
    Matcher(json_object_grammar()),
    Matcher(
        schema_grammar(
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "short": {"type": "string", "maxLength": 5},
                    "long": {"type": "string", "minLength": 3},
                    "age": {"type": "integer", "minimum": 0, "maximum": 150},
                    "day": {"type": "string", "format": "date"},
                    "word": {"type": "string", "pattern": "^[a-z]+( [a-z]{2,4})?$"},
                    "kind": {"enum": ["a", "ab", "é", 1, None]},
                    "list": {"type": "array", "items": {"type": "number"}, "maxItems": 3},
                },
                "required": ["name", "age"],
                "additionalProperties": {"type": "boolean"},
            }
        )
    ),
    Matcher(parse_gbnf('root ::= ([a-zA-Z0-9 ]{1,6} | "é" .)* "!"?')),
    Matcher(parse_gbnf('root ::= "\\"" [^"]* "\\"" | [^a-m]+ "x"')),
    Matcher(parse_gbnf("root ::= [a-z]{2} [a-z0-9]* | [\\u0080-\\U0010FFFF]+ | .{3,}")),
    Matcher(parse_gbnf("root ::= [ -~é-\\U0010FFFF]* | [^\\n]{4}")),
]


def brute_force(state: State, size: int) -> list[int]:
    allowed = [
        token
        for token, data in enumerate(VOCABULARY[:size])
        if data and state.advance(data) is not None
    ]
    return sorted({*allowed, *(end for end in ENDS if state.accepting and end < size)})


def tokens_of(mask: bytes) -> list[int]:
    return [index for index in range(8 * len(mask)) if mask[index >> 3] >> (index & 7) & 1]


@settings(max_examples=60, deadline=None)
@given(which=st.integers(0, len(GRAMMARS) - 1), seed=st.integers(0, 2**32))
def test_masks_are_what_brute_force_finds(which: int, seed: int) -> None:
    """Along texts that a model choosing at random would write."""
    size = len(VOCABULARY) + 20
    masks = TokenMasks(VOCABULARY, ENDS, size)
    chance = random.Random(seed)
    state = GRAMMARS[which].start
    for _ in range(15):
        mask = masks.mask(state)
        assert len(mask) == 4 * -(-size // 32)
        expected = brute_force(state, size)
        assert tokens_of(mask) == expected
        assert masks.mask(state) is mask
        choices = [token for token in expected if token not in ENDS]
        if not choices:
            return
        after = state.advance(VOCABULARY[chance.choice(choices)])
        assert after is not None
        state = after


@pytest.mark.parametrize("size", [1, 31, 32, 33, 100])
def test_tokens_beyond_the_engine_s_vocabulary_do_not_exist(size: int) -> None:
    masks = TokenMasks(VOCABULARY, ENDS, size)
    for matcher in GRAMMARS:
        assert tokens_of(masks.mask(matcher.start)) == brute_force(matcher.start, size)


def test_an_end_token_is_allowed_where_the_text_may_end() -> None:
    masks = TokenMasks([b"a", b"b", b"</s>"], [2], 3)
    matcher = Matcher(parse_gbnf('root ::= "a" "b"?'))
    state = matcher.start
    assert tokens_of(masks.mask(state)) == [0]
    after = state.advance(b"a")
    assert after is not None
    assert tokens_of(masks.mask(after)) == [1, 2]
    end = after.advance(b"b")
    assert end is not None
    assert end.finished
    assert tokens_of(masks.mask(end)) == [2]
