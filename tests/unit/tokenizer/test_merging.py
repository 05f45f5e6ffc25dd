"""Merging neighbours: the quick ways give what the definition gives."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mlr.tokenizer.models import merging
from mlr.tokenizer.models.cache import MAX_WORDS, WordCache
from mlr.tokenizer.models.sentencepiece import SentencePieceBPE, safe_boundaries
from mlr.tokenizer.vocabulary import SPACE, ListedVocabulary

MERGES = st.dictionaries(
    st.text(alphabet="ab▁", min_size=2, max_size=6), st.integers(0, 8), max_size=30
)
WORDS = st.text(alphabet="ab▁c", max_size=60)


def by_definition(symbols: list[str], ranks: dict[str, int]) -> list[str]:
    """Merge the best pair, the leftmost among equals, until none merges."""
    while True:
        pairs = [
            (ranks[left + right], index)
            for index, (left, right) in enumerate(pairwise(symbols))
            if left + right in ranks
        ]
        if not pairs:
            return symbols
        _, index = min(pairs)
        symbols = [*symbols[:index], symbols[index] + symbols[index + 1], *symbols[index + 2 :]]


@settings(max_examples=300)
@given(MERGES, WORDS)
def test_both_ways_of_merging(ranks: dict[str, int], word: str) -> None:
    expected = by_definition(list(word), ranks)
    for way in (merging._merge_short, merging._merge_long, merging.merge):
        symbols = way(list(word), lambda a, b: ranks.get(a + b), lambda a, b: a + b)
        assert symbols == expected


@settings(max_examples=300)
@given(MERGES, WORDS)
def test_cutting_at_safe_boundaries_changes_nothing(ranks: dict[str, int], word: str) -> None:
    tokens = ["a", "b", "c", SPACE, *(token for token in ranks if len(token) > 1)]
    vocabulary = ListedVocabulary.from_list(tokens, "test")
    scores = [0.0] * 4 + [-float(rank) for rank in ranks.values()]
    model = SentencePieceBPE(vocabulary, scores.__getitem__, [None] * 256, None)
    expected = by_definition(list(word), ranks)
    assert [tokens[i] for i in model.encode([word])] == expected


def test_without_a_token_for_spaces_there_is_no_safe_boundary() -> None:
    assert safe_boundaries(ListedVocabulary.from_list(["a"], "test")) is None


def test_long_runs_take_no_more_than_n_log_n() -> None:
    calls = 0

    def priority(left: str, right: str) -> float | None:
        nonlocal calls
        calls += 1
        return len(left + right) if len(left + right) <= 16 else None

    merging.merge(["a"] * 20_000, priority, lambda a, b: a + b)
    assert calls < 20_000 * 4


def test_the_word_cache_is_bounded() -> None:
    seen: list[str] = []

    def encode(word: str) -> list[int]:
        seen.append(word)
        return [len(word)]

    cache = WordCache(encode)
    assert cache.encode(["a", "bb", "a", "x" * 65, "x" * 65]) == [1, 2, 1, 65, 65]
    assert seen == ["a", "bb", "x" * 65, "x" * 65]
    cache.encode(map(str, range(MAX_WORDS + 10)))
    assert len(cache._known) <= MAX_WORDS
