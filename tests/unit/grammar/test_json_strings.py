"""Formats, patterns and lengths of strings, alone and together; and the automata behind them."""

from __future__ import annotations

import email.headerregistry
import ipaddress
import json
import random
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.errors import GrammarError
from mlr.grammar.json_patterns import parse_pattern
from mlr.grammar.json_schema import schema_grammar
from mlr.grammar.languages import language
from mlr.grammar.matcher import Matcher
from tests.unit.grammar.json_texts import check_texts, compact, draw_text

LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
URI = r"[a-z][a-z0-9+.-]*:(//[^/?#\s]+(/[^?#\s]*)?(\?[^#\s]*)?(#\S*)?|[^/?#\s]+)"  # RFC 3986, B


def is_email(text: str) -> bool:
    """As the standard library reads addresses, with the lengths of RFC 5321."""
    address = email.headerregistry.Address(addr_spec=text)
    fits = len(address.username) <= 64 and len(text) <= 254
    return address.addr_spec == text and fits and is_hostname(address.domain)


def is_hostname(text: str) -> bool:
    return len(text) <= 253 and re.fullmatch(rf"{LABEL}(\.{LABEL})*", text) is not None


def is_uri(text: str) -> bool:
    pydantic.TypeAdapter(pydantic.AnyUrl).validate_python(text)
    return re.fullmatch(URI, text) is not None and len(text) <= 2083


def is_duration(text: str) -> bool:
    pydantic.TypeAdapter(timedelta).validate_python(text)
    return True


CHECKS: dict[str, Callable[[str], bool]] = {
    "email": is_email,
    "hostname": is_hostname,
    "uri": is_uri,
    "duration": is_duration,
    "ipv4": lambda text: ipaddress.ip_address(text).version == 4,
    "ipv6": lambda text: ipaddress.ip_address(text).version == 6,
}


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("wanted", [3, 12, 400])
def test_formats_are_what_other_readers_take(name: str, wanted: int) -> None:
    matcher = Matcher(schema_grammar({"type": "string", "format": name}))
    chance = random.Random(wanted)
    for _ in range(60 if wanted < 100 else 10):
        text = json.loads(draw_text(matcher, chance, wanted))
        assert CHECKS[name](text), text
    check_texts({"type": "string", "format": name}, 7, 20)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "email",
            ["ann@example.org", "Bob.O-Neil+news@mail.example.co.uk", "a@b.cd", "x_1@a-b.museum"],
            ["ann", "@b.cd", "a@", "a..b@c.de", ".a@b.cd", "a@b", "a@-b.cd", "a b@c.de", "a@b.c1"],
        ),
        (
            "hostname",
            ["localhost", "example.org", "a-b.c0.example", "1and1.com", "x" * 61 + ".de"],
            ["", "-a", "a-", "a..b", "a.", "1.2.3.4", "a_b", "x" * 64],
        ),
        (
            "uri",
            [
                "https://example.org",
                "http://localhost:8000/a/b.html?x=1&y=%20#top",
                "ftp://10.0.0.1/",
                "https://[2001:db8::1]:443/",
                "mailto:ann@example.org",
                "https://example.org/a/~b/(c)/d,e;f@g:h",
            ],
            ["example.org", "https://", "https://a b", "http://a:70000/", "https://a/%zz", "/a"],
        ),
        (
            "ipv4",
            ["0.0.0.0", "255.255.255.255", "192.168.1.10"],
            ["256.1.1.1", "1.2.3", "01.2.3.4", "1.2.3.4.5", ""],
        ),
        (
            "ipv6",
            ["::", "::1", "1::", "fe80::1:2", "1:2:3:4:5:6:7:8", "::ffff:10.0.0.1", "1:2::7:8"],
            ["1::2::3", "1:2:3", "12345::", "1:2:3:4:5:6:7:8:9", ":::", "1:2:3:4:5:6:7::8:9", ":"],
        ),
        (
            "duration",
            ["P3D", "PT5M", "P1Y2M3DT4H5M6S", "P2W", "PT36H", "P1DT12H"],
            ["P", "PT", "P1", "1D", "P1H", "PT1D", "P1Y2D", "P1W2D", "PT1H2S"],
        ),
    ],
)
def test_examples(name: str, good: list[str], bad: list[str]) -> None:
    matcher = Matcher(schema_grammar({"type": "string", "format": name}))
    for text in good:
        assert CHECKS[name](text), text
        assert matcher.accepts(compact(text)), text
    for text in bad:
        assert not matcher.accepts(compact(text)), text


@settings(max_examples=60, deadline=None)
@given(address=st.ip_addresses(v=6), exploded=st.booleans())
def test_every_ipv6_address(address: ipaddress.IPv6Address, exploded: bool) -> None:
    matcher = Matcher(schema_grammar({"type": "string", "format": "ipv6"}))
    assert matcher.accepts(compact(address.exploded if exploded else str(address)))


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("lengths", [{"minLength": 10, "maxLength": 20}, {"maxLength": 100}])
def test_formats_with_lengths(name: str, lengths: dict[str, int]) -> None:
    schema = {"type": "string", "format": name, **lengths}
    matcher = Matcher(schema_grammar(schema))
    chance = random.Random(1)
    for _ in range(20):
        assert CHECKS[name](json.loads(draw_text(matcher, chance, 25)))
    check_texts(schema, 3, 20)


PATTERNS = [
    "^[a-z]+$",
    "b",
    "^a|b$",
    "^(ab?)*$",
    r"^\w{2,}-\d*$",
    "^[^b]*$",
    r"^(?=.*[a-b])(?=.*\d).{2,}$",
    "^(?!ab|c$)[a-c]*$",
    r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$",  # Pydantic's for decimal numbers
]


@settings(max_examples=25, deadline=None)
@given(data=st.data(), least=st.integers(0, 4), more=st.none() | st.integers(0, 4))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_with_lengths(
    pattern: str, data: st.DataObject, least: int, more: int | None
) -> None:
    schema: dict[str, Any] = {"type": "string", "pattern": pattern, "minLength": least}
    if more is not None:
        schema["maxLength"] = least + more
    python = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    try:
        matcher = Matcher(schema_grammar(schema))
    except GrammarError as error:  # one character has no digit and letter, for example
        assert "no string is all of this" in str(error)  # noqa: PT017
        matcher = None
    anything = st.text("abc019-.+", max_size=8)
    if "(?" not in pattern:
        anything |= st.from_regex(python, alphabet=st.characters(codec="ascii"))
    for text in data.draw(st.lists(anything, min_size=3)):
        fits = least <= len(text) and (more is None or len(text) <= least + more)
        wanted = fits and python.search(text) is not None
        assert wanted == (matcher is not None and matcher.accepts(compact(text))), text
    if matcher is not None:
        check_texts(schema, least, 3)


@settings(max_examples=60, deadline=None)
@given(
    one=st.sampled_from(PATTERNS[:6]),
    other=st.sampled_from(PATTERNS[:6]),
    text=st.text("abc1-\n", max_size=6),
)
def test_automata_are_sets(one: str, other: str, text: str) -> None:
    first, second = (language(parse_pattern(each).strings) for each in (one, other))
    assert first.both(second).holds(text) == (first.holds(text) and second.holds(text))
    assert first.others().holds(text) == (not first.holds(text))
    assert first.both(first.others()).empty


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"format": "idn-email"}, "'idn-email' is not supported; supported: date, "),
        ({"pattern": "^[a-z]+$", "maxLength": 100_000}, "schema: it takes over 4000 states"),
        ({"pattern": "^a{5}$", "maxLength": 4}, "no string is all of this"),
        ({"format": "uuid", "minLength": 37}, "no string is all of this"),
        ({"pattern": "(?=a)b"}, "looking ahead"),
        ({"pattern": "^(?=a)b|c"}, "looking ahead in one of several alternatives"),
        ({"pattern": "^a(?=b)"}, "looking ahead or behind"),
        ({"pattern": "^(?=a"}, "a group is not closed"),
        ({"pattern": "^(?=(a$))b"}, r"\$ other than at the end"),
    ],
)
def test_what_is_not_supported_is_named(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        Matcher(schema_grammar({"type": "string", **schema}))


def test_what_is_left_out_when_lengths_are_short() -> None:
    """A long format is held to a short length in the same way, up to 63 characters."""
    matcher = Matcher(schema_grammar({"type": "string", "format": "email", "maxLength": 100}))
    assert matcher.accepts(compact("a" * 20 + "@example.org"))
    assert not matcher.accepts(compact("a" * 60 + "@example.org"))


@pytest.mark.parametrize("name", ["date", "time", "date-time", "uuid"])
def test_formats(name: str) -> None:
    check_texts({"type": "string", "format": name}, 1, 200)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "date",
            ["2024-02-29", "2000-02-29", "1999-12-31"],
            ["2023-02-29", "1900-02-29", "2024-04-31", "2024-1-1"],
        ),
        ("time", ["00:00:00Z", "23:59:59.5+02:00"], ["24:00:00Z", "12:00:00", "12:60:00Z"]),
        ("date-time", ["2024-02-29T12:30:00Z"], ["2024-02-29 12:30:00Z"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567e89b12d3a456426614174000"]),
    ],
)
def test_examples_of_formats(name: str, good: list[str], bad: list[str]) -> None:
    matcher = Matcher(schema_grammar({"type": "string", "format": name}))
    assert all(matcher.accepts(compact(text)) for text in good)
    assert not any(matcher.accepts(compact(text)) for text in bad)
