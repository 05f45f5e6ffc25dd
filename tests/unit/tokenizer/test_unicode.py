"""Character tables: they agree with Python where its Unicode is not older."""

from __future__ import annotations

import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers

from mlr.tokenizer import unicode
from mlr.tokenizer.unicode import Ranges


def members(ranges: Ranges) -> set[int]:
    return {point for low, high in ranges for point in range(low, high + 1)}


def test_categories_agree_with_python() -> None:
    names = set(map(unicodedata.category, map(chr, range(sys.maxunicode + 1))))
    differing = 0
    for name in names - {"Cn"}:
        points = members(unicode.category(name) or ())
        for point in range(sys.maxunicode + 1):
            mine = unicodedata.category(chr(point)) == name
            differing += mine and point not in points
    # Between Unicode 14 and 16 the category of one character changed (U+1171E).
    assert differing <= 1


def test_sets() -> None:
    first: Ranges = ((1, 3), (10, 20))
    second: Ranges = ((3, 12), (30, unicode.LAST))
    assert unicode.union(first, second) == ((1, 20), (30, unicode.LAST))
    assert unicode.intersection(first, second) == ((3, 3), (10, 12))
    assert unicode.complement(first) == ((0, 0), (4, 9), (21, unicode.LAST))
    assert unicode.complement(first, 15) == ((0, 0), (4, 9))
    assert unicode.category("Nonsense") is None
    assert unicode.script("Nonsense") is None
    assert members(unicode.category("LC") or ()) == members(
        unicode.union(*(unicode.category(name) or () for name in ("Lu", "Ll", "Lt")))
    )


@given(st.text())
def test_normal_forms_and_lower_case_agree_with_the_library(text: str) -> None:
    assert unicode.lower(text) == normalizers.Lowercase().normalize_str(text)
    forms = {
        "NFC": normalizers.NFC(),
        "NFD": normalizers.NFD(),
        "NFKC": normalizers.NFKC(),
        "NFKD": normalizers.NFKD(),
    }
    for character in text:
        for form, normalizer in forms.items():
            assert unicode.normalize(form, character) == normalizer.normalize_str(character)  # type: ignore[arg-type]
