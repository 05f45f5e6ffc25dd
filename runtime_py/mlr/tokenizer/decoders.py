"""The way back: token ids to text."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Protocol

from mlr.tokenizer.stream import TextSink

__all__ = ["BytesDecoder", "Decoder"]


class Decoder(Protocol):
    def sink(self) -> TextSink: ...

    def token_bytes(self, token_id: int) -> bytes: ...


class BytesDecoder:
    """Every token is a string of bytes; their concatenation is read as UTF-8.

    `drop_space` leaves out one space at the very beginning, for tokenizers that put one there.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], *, drop_space: bool) -> None:
        self._token_bytes = token_bytes
        self._drop_space = drop_space

    def token_bytes(self, token_id: int) -> bytes:
        return self._token_bytes(token_id)

    def sink(self) -> TextSink:
        return _BytesSink(self._token_bytes, self._drop_space)


class _BytesSink:
    def __init__(self, token_bytes: Callable[[int], bytes], drop_space: bool) -> None:
        self._token_bytes = token_bytes
        self._drop_space = drop_space
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        data = self._token_bytes(token_id)
        if self._drop_space and data:
            self._drop_space = False
            data = data.removeprefix(b" ")
        return self._utf8.decode(data)

    def flush(self) -> str:
        return self._utf8.decode(b"", final=True)
