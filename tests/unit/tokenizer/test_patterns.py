"""Patterns of tokenizer files, against the engine that they were written for (Oniguruma)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers import pre_tokenizers as oracle

from mlr.errors import TokenizerError
from mlr.tokenizer.patterns import MAX_PATTERN_LENGTH, Pattern
from mlr.tokenizer.pre_tokenizers import BEHAVIORS, Split

PATTERNS = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s*[\r\n]+|\s+",
    r"[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+",
    r"[\p{Lu}\p{Lt}&&[^A-F]]+|[\p{Ll}\p{M}]*",
    r"\d{1,3}(?=(?:\d{3})*\b)|\B-\B",
    r"[一-龥ぁ-ゟ]+|\p{Han}|\p{^L}",
    r"\P{L}+",
    r"[[a-c][^\w]]+|[]x-]",
    r"^a|b$|^\s+|\s+$|.\z|\A.",
    r"(?=(\d{3})+(?!\d))",
    r"(?:ab|[cd]){1,2}+x|\p{N}{2}+|(?:(?:a){2}+b){1,2}+",
    r"(?<=a)b+?|(?<!a)c|(?>de)|(f|g)h",
    r"a(?i)b|c",
    r"\x{e9}|\u00e8|\x41|\t|\h\h|[\d.,]+|\$|\{|a{2}|{|}",
    r"[+-\]a]|[a\-z]|[\]\[]|[^]]",
    r"\s?[!-/:-~]+|[^\n]+|[\n]+",
    r" ?[^(\s|.,!?…。，、।۔،)]+",
]

TEXTS = [
    *("", "a", "abc ABC Abc", "It's we'LL 'ſ don't", "  two  spaces \n\n new\r\nline\t"),
    *(
        "123456789 1,234.56 ²³",
        "日本語テキスト 漢字 かな",
        "ÀÉÎ àéî ǅ e\u0301",
        "😀👍🏽 \u200d",
    ),
    *("a\x1cb\x85c\u2028d\u3000e", "def defg fh gh ac bc abb cc ab aB c", "\xe9\xe8A\taf $ {aa}"),
    *("abcdabx ababab aabaab 1234567",),
    *("x-]+[a\\z", "  lead", "trail  ", "a\nb\na", "\U000105c0\U00010400 \u1c89", "_-_ - --"),
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("behavior", BEHAVIORS)
def test_splits_as_the_library_does(pattern: str, behavior: str) -> None:
    snake = "".join("_" + c.lower() if c.isupper() else c for c in behavior).lstrip("_")
    for invert in (False, True):
        expected = oracle.Split(Regex(pattern), snake, invert=invert)
        split = Split(Pattern(pattern), behavior, invert=invert)
        for text in TEXTS:
            pieces = [piece for piece, _ in expected.pre_tokenize_str(text)]
            assert split.split([text], True) == pieces, text


@settings(max_examples=300, deadline=None)
@given(st.text(), st.sampled_from(PATTERNS))
def test_splits_any_text_as_the_library_does(text: str, pattern: str) -> None:
    expected = oracle.Split(Regex(pattern), "isolated").pre_tokenize_str(text)
    pieces = Split(Pattern(pattern), "Isolated").split([text], True)
    assert pieces == [piece for piece, _ in expected]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "not closed"),
        (")", "closes nothing"),
        ("[a", "not closed"),
        ("[z-a]", "backwards"),
        ("a\\", "ends in a backslash"),
        (r"\p", "without a name"),
        (r"\p{Nonsense}", "the property 'Nonsense'"),
        (r"[[:alpha:]]", "POSIX"),
        (r"(a)\1", r"the escape \\1"),
        (r"\R", r"the escape \\R"),
        (r"\x{110000}", "character number"),
        (r"(?m:a)", "the option"),
        (r"(?<=a+)b", "is not a regular expression"),
        ("*a", "is not a regular expression"),
        ("a{3,1}", "is not a regular expression"),
        ("[" * 20 + "a" + "]" * 20, "nested too deep"),
        ("(?:" * 3000 + ")" * 3000, "is not a regular expression"),
        ("a" * (MAX_PATTERN_LENGTH + 1), "more than the limit"),
    ],
)
def test_what_is_not_supported_is_named(pattern: str, reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        Pattern(pattern)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab()[]{}|*+?^$.\\-&:=!<>pLs,12", max_size=12))
def test_any_text_is_a_pattern_or_an_error(source: str) -> None:
    try:
        pattern = Pattern(source)
    except TokenizerError:
        return
    list(pattern.matches("abc"))
