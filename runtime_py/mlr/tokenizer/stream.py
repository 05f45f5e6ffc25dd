"""Detokenizing one token at a time, without ever showing half a character."""

from __future__ import annotations

from typing import Protocol

__all__ = ["DecodeStream", "TextSink"]


class TextSink(Protocol):
    """What a decoder gives a stream: it takes token ids and hands out finished text."""

    def push(self, token_id: int) -> str: ...

    def flush(self) -> str: ...


class DecodeStream:
    """Text of a growing sequence of tokens.

    The texts returned by `push`, followed by `flush`, concatenate to exactly what
    `Tokenizer.decode` gives for all the ids at once: both run the same decoder.
    A character whose bytes come in several tokens is held back until it is whole.
    """

    def __init__(self, sink: TextSink, skipped: frozenset[int], size: int) -> None:
        self._sink = sink
        self._skipped = skipped
        self._size = size

    def push(self, token_id: int) -> str:
        """The text that `token_id` completes; "" while a character is incomplete.

        Skipped (special) tokens and ids outside the vocabulary add nothing.
        """
        if token_id in self._skipped or not 0 <= token_id < self._size:
            return ""
        return self._sink.push(token_id)

    def flush(self) -> str:
        """What is left at the end; an incomplete character becomes U+FFFD."""
        return self._sink.flush()
