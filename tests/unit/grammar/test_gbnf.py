"""GBNF: what texts a grammar accepts, and what is said about one that is wrong."""

from __future__ import annotations

import pytest

from mlr.errors import GrammarError
from mlr.grammar.gbnf import MAX_SIZE, parse_gbnf
from mlr.grammar.matcher import Matcher

CHESS = r"""
# Moves of a game, as in llama.cpp's examples.
root   ::= (
    # numbered
    "1. " move " " move "\n"
    ([1-9] [0-9]? ". " move " " move "\n")+
)
move   ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn   ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
"""

ARITHMETIC = """
root ::= (expr "=" ws term "\\n")+
expr ::= term ([-+*/] term)*
term ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num ::= [0-9]+ ws
ws ::= [ \\t\\n]*
"""

CASES: list[tuple[str, list[str], list[str]]] = [
    ('root ::= "a"', ["a"], ["", "b", "aa"]),
    ('root ::= "a" | "bc" | ""', ["", "a", "bc"], ["b", "abc"]),
    ('root ::= "a" "b"? "c"*', ["a", "ab", "accc", "abcc"], ["b", "abb", "ac "]),
    ('root ::= ("ab" | "c")+', ["ab", "c", "abcab"], ["", "a", "abb"]),
    ("root ::= [a-cx] [^a-c]", ["ad", "xé", "c\n"], ["aa", "dd", "a"]),
    (r"root ::= [\]\[^-] [\x41-\u0043]", ["]A", "[C", "^B", "-A"], ["\\A", "]D"]),
    (r'root ::= "\x41\u00e9\U0001F600\"\\\n\t\r"', ['Aé😀"\\\n\t\r'], ["A"]),
    ("root ::= .", ["a", "\n", "é", "世", "😀", "\U0010ffff"], ["", "ab"]),
    ("root ::= [é-世😀]", ["é", "世", "三", "😀"], ["e", "😁", "\u00e8"]),
    ('root ::= "a"{2}', ["aa"], ["a", "aaa"]),
    ('root ::= "a"{2,}', ["aa", "aaaaa"], ["a"]),
    ('root ::= "a"{0,2} "b"', ["b", "ab", "aab"], ["aaab"]),
    ('root ::= ("a" "b"?){2,3}', ["aa", "abab", "aba", "abaab"], ["a", "abb", "aaaa"]),
    ('root ::= ("a"?){3}', ["", "a", "aa", "aaa"], ["aaaa"]),
    ('root ::= ("a"?)* "b"', ["b", "aab"], ["a"]),
    ("root ::= a a\na ::= b?\nb ::= [0-9]", ["", "1", "12"], ["123"]),
    ('root ::= "(" root ")" | "x"', ["x", "(x)", "((x))"], ["(x", "x)"]),
    ('root ::= "a" root?', ["a", "a" * 3000], [""]),
    (
        'root ::= "a" |\n  "b"\n   # a comment\n\nunused-rule ::= (\n "c"\n # another\n )\n',
        ["a", "b"],
        ["c"],
    ),
    (
        CHESS,
        ["1. e4 e5\n2. Nf3 Nc6\n", "1. d4 d5\n2. O-O O-O-O+\n13. exd8=Q Kxe1#\n"],
        ["1. e4 e5\n", "1. e9 e5\n2. a1 a1\n"],
    ),
    (ARITHMETIC, ["x=1\n", "(a +b)*2= c\n1=1\n"], ["x=", "x+=1\n", "x=1"]),
]


@pytest.mark.parametrize(("source", "good", "bad"), CASES)
def test_texts(source: str, good: list[str], bad: list[str]) -> None:
    matcher = Matcher(parse_gbnf(source))
    for text in good:
        assert matcher.accepts(text.encode()), text
    for text in bad:
        assert not matcher.accepts(text.encode()), text


@pytest.mark.parametrize(
    "data", [b"\xc3", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"]
)
def test_what_is_no_utf8_is_no_character(data: bytes) -> None:
    assert not Matcher(parse_gbnf("root ::= .+")).accepts(data)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "no rule 'root'"),
        ('a ::= "x"', "no rule 'root'"),
        ("root = 1", "line 1, column 6: expected ::="),
        ('root ::= "x', "line 1, column 10: this text is not closed"),
        ('root ::= "x"\nb ::= [a', "line 2, column 7: this class is not closed"),
        ('root ::= ("x"', "line 1, column 10: this group is not closed"),
        ('root ::= "x")', "line 1, column 13: unexpected '\\)'"),
        ("root ::= missing", "line 1, column 10: there is no rule 'missing'"),
        ('root ::= "a"\nroot ::= "b"', "line 2, column 1: .* twice"),
        (r'root ::= "\q"', r"line 1, column 11: unknown escape \\q"),
        (r'root ::= "\xZZ"', "needs 2 digits"),
        (r'root ::= "\uD800"', "needs 4 digits of a character"),
        (r'root ::= "\U00110000"', "needs 8 digits of a character"),
        ("root ::= [b-a]", "a range that runs backwards"),
        ("root ::= []", "no character is in this class"),
        (r"root ::= [^\x00-\U0010FFFF]", "no character is in this class"),
        ('root ::= "a"{3,2}', "at least 3 and at most 2"),
        ('root ::= "a"{}', r"expected \{n\}"),
        ('root ::= "a"{99999999}', "a repetition of more than"),
        ("root ::= <think>", "tokens in a grammar"),
        ('root ::= "a" |', "never"),
        ('root ::= root "a" | "b"', "'root' is left-recursive"),
        ('root ::= a\na ::= b? root "x" | "y"\nb ::= "z"', "left-recursive"),
        ('root ::= "a" root', "'root' never ends"),
        ("root ::= " + "(" * 100 + '"a"' + ")" * 100, "nested over 64 deep"),
        ("root ::= " + '"a" ' * (MAX_SIZE // 4), "more than the limit"),
        ("root ::= " + "." * 100_000, "too large"),
        ('root ::= "a"' + "?" * 5000, "line 1, column 13: over 64 repetitions of repetitions"),
        ('root ::= ("a"?){1,1000}', "may be empty is repeated up to 1000 times"),
    ],
)
def test_errors(source: str, message: str) -> None:
    if message == "never":
        # an empty alternative is allowed
        assert Matcher(parse_gbnf(source)).accepts(b"")
        return
    with pytest.raises(GrammarError, match=message):
        Matcher(parse_gbnf(source))


def test_a_long_chain_of_rules_is_no_recursion() -> None:
    rules = [f"r{i} ::= r{i + 1}" for i in range(3000)]
    source = "\n".join(["root ::= r0", *rules, 'r3000 ::= "x"'])
    assert Matcher(parse_gbnf(source)).accepts(b"x")


def test_too_many_ways_to_read_a_text_are_refused() -> None:
    source = 'root ::= (("a"{1,900}){1,900} "b")+'
    matcher = Matcher(parse_gbnf(source))
    with pytest.raises(GrammarError, match=r"ambiguous|too long"):
        matcher.accepts(b"a" * 900)


def test_nesting_beyond_the_limit_is_not_accepted() -> None:
    matcher = Matcher(parse_gbnf('root ::= "(" root ")" | "x"'))
    assert matcher.accepts(b"(" * 200 + b"x" + b")" * 200)
    assert not matcher.accepts(b"(" * 300 + b"x" + b")" * 300)


def test_states_are_the_same_object_when_they_are_equal() -> None:
    matcher = Matcher(parse_gbnf('root ::= ("a" | "b")* "c"'))
    state = matcher.start.advance(b"a")
    assert state is not None
    assert state is matcher.start.advance(b"abab")
    end = state.advance(b"c")
    assert end is not None
    assert (end.finished, end.accepting) == (True, True)
    assert (state.finished, state.accepting) == (False, False)
