"""Decoders of tokenizer.json, one by one, against the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers import decoders as oracle

from mlr.tokenizer import decoders
from mlr.tokenizer.patterns import Pattern

CASES: dict[str, tuple[Any, Callable[[], list[decoders.Step]]]] = {
    "byte_level": (oracle.ByteLevel(), lambda: [decoders.ByteLevelStep()]),
    "byte_fallback": (oracle.ByteFallback(), lambda: [decoders.ByteFallbackStep()]),
    "fuse": (oracle.Fuse(), lambda: [decoders.FuseStep()]),
    "metaspace": (oracle.Metaspace(), lambda: [decoders.MetaspaceStep("▁", prepended=True)]),
    "metaspace_never": (
        oracle.Metaspace(prepend_scheme="never"),
        lambda: [decoders.MetaspaceStep("▁", prepended=False)],
    ),
    "wordpiece": (oracle.WordPiece(), lambda: [decoders.WordPieceStep("##", cleanup=True)]),
    "bpe": (oracle.BPEDecoder(), lambda: [decoders.BPEStep("</w>")]),
    "replace": (oracle.Replace("ab", "x"), lambda: [decoders.ReplaceStep("ab", "x")]),
    "replace_regex": (
        oracle.Replace(Regex("a+"), "x"),
        lambda: [decoders.ReplaceStep(Pattern("a+"), "x")],
    ),
    "strip": (
        oracle.Sequence([oracle.Fuse(), oracle.Strip(" ", 1, 0)]),
        lambda: [decoders.FuseStep(), decoders.StripStep(" ", 1, 0)],
    ),
    "llama": (
        oracle.Sequence(
            [
                oracle.Replace("▁", " "),
                oracle.ByteFallback(),
                oracle.Fuse(),
                oracle.Strip(" ", 2, 0),
            ]
        ),
        lambda: [
            decoders.ReplaceStep("▁", " "),
            decoders.ByteFallbackStep(),
            decoders.FuseStep(),
            decoders.StripStep(" ", 2, 0),
        ],
    ),
    "fused": (
        oracle.Sequence([oracle.Fuse(), oracle.Replace("ab", "x"), oracle.Metaspace()]),
        lambda: [
            decoders.FuseStep(),
            decoders.ReplaceStep("ab", "x"),
            decoders.MetaspaceStep("▁", prepended=True),
        ],
    ),
}

TOKEN = st.one_of(
    st.text(alphabet="ab ▁#</w>.,'nt ĠÃ©", min_size=1, max_size=6),
    st.sampled_from(
        ["<0xE2>", "<0x82>", "<0xAC>", "<0x41>", "<0xff>", "<0x4>", "##a", "a</w>", " do not", "▁"]
    ),
)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=150, deadline=None)
@given(tokens=st.lists(TOKEN, min_size=1, max_size=8))
def test_decodes_as_the_library_does(name: str, tokens: list[str]) -> None:
    expected, make = CASES[name]
    assert decoders.run(make(), tokens) == expected.decode(tokens)


def test_strip_at_both_ends() -> None:
    assert decoders.run([decoders.StripStep("x", 2, 1)], ["xxxax", "xax"]) == "xaa"
    fused: list[decoders.Step] = [decoders.FuseStep(), decoders.StripStep("x", 1, 2)]
    assert decoders.run(fused, ["x", "xa", "x", "x", "x"]) == "xax"
    assert decoders.run([decoders.StripStep("x", 5, 5)], ["xx", "x"]) == ""
