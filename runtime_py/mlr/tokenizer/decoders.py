"""The way back: token ids to text.

A decoder is run token by token. `sink()` starts one run; decoding all ids at once is the same
run with all ids pushed, so a stream and a full decode cannot differ.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

from mlr.tokenizer.byte_level import byte_values
from mlr.tokenizer.patterns import Pattern
from mlr.tokenizer.stream import TextSink
from mlr.tokenizer.vocabulary import byte_token_value

__all__ = [
    "BPEStep",
    "ByteFallbackStep",
    "ByteLevelStep",
    "BytesDecoder",
    "Decoder",
    "FuseStep",
    "JoinStep",
    "MetaspaceStep",
    "ReplaceStep",
    "Step",
    "StepsDecoder",
    "StripStep",
    "WordPieceStep",
]


class Decoder(Protocol):
    def sink(self) -> TextSink: ...

    def token_bytes(self, token_id: int) -> bytes: ...


class BytesDecoder:
    """Every token is a string of bytes; their concatenation is read as UTF-8.

    `drop_space` leaves out one space at the very beginning, for tokenizers that put one there.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], *, drop_space: bool = False) -> None:
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
        self._rest = b""  # of a character

    def push(self, token_id: int) -> str:
        data = self._token_bytes(token_id)
        if self._drop_space and data:
            self._drop_space = False
            data = data.removeprefix(b" ")
        data = self._rest + data
        text, used = codecs.utf_8_decode(data, "replace", False)
        self._rest = data[used:]
        return text

    def flush(self) -> str:
        rest, self._rest = self._rest, b""
        return rest.decode(errors="replace")


Chunk = tuple[str, bool]
"""A part of a token's text, and whether the token ends with it."""


class Step(Protocol):
    """One decoder of tokenizer.json, run over the texts of tokens. A fused text comes in parts."""

    def push(self, text: str, end: bool) -> list[Chunk]: ...

    def finish(self) -> list[Chunk]: ...


class StepsDecoder:
    """The decoders of tokenizer.json in a row. `make_steps` makes the steps of a new run."""

    def __init__(self, token_text: Callable[[int], str], make_steps: Callable[[], list[Step]]):
        self._token_text = token_text
        self._make_steps = make_steps

    def sink(self) -> TextSink:
        return _StepsSink(self._token_text, self._make_steps())

    def token_bytes(self, token_id: int) -> bytes:
        text = self._token_text(token_id)
        value = byte_token_value(text)
        steps = self._make_steps()
        if value is not None and any(isinstance(step, ByteFallbackStep) for step in steps):
            return bytes((value,))
        if steps and isinstance(steps[0], ByteLevelStep):
            return byte_level_bytes(text)
        # A token in front keeps the rules for the beginning of a text from applying to this one.
        sink = _StepsSink(lambda _: "x", steps)
        before = sink.push(0)
        sink = _StepsSink(self._token_text, steps)
        return (before + sink.push(token_id) + sink.flush()).encode().removeprefix(b"x")


class _StepsSink:
    def __init__(self, token_text: Callable[[int], str], steps: list[Step]) -> None:
        self._token_text = token_text
        self._steps = steps

    def push(self, token_id: int) -> str:
        return self._run([(self._token_text(token_id), True)], 0)

    def flush(self) -> str:
        return "".join(
            self._run(step.finish(), index) for index, step in enumerate(self._steps, start=1)
        )

    def _run(self, chunks: list[Chunk], start: int) -> str:
        for step in self._steps[start:]:
            chunks = [out for text, end in chunks for out in step.push(text, end)]
        return "".join(text for text, _ in chunks)


class _Plain:
    """A step that keeps nothing for the end."""

    def finish(self) -> list[Chunk]:
        return []


class JoinStep(_Plain):
    """Without a decoder, tokens are words: a space between every two."""

    def __init__(self) -> None:
        self._first = True

    def push(self, text: str, end: bool) -> list[Chunk]:
        text, self._first = (text if self._first else f" {text}"), False
        return [(text, end)]


def byte_level_bytes(text: str) -> bytes:
    """The bytes that a text in GPT-2's alphabet stands for; other text is its own UTF-8."""
    values = byte_values()
    try:
        return bytes([values[character] for character in text])
    except KeyError:
        return text.encode()


class ByteLevelStep:
    """Tokens in GPT-2's alphabet to one text."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, text: str, end: bool) -> list[Chunk]:
        return [(self._utf8.decode(byte_level_bytes(text)), False)]

    def finish(self) -> list[Chunk]:
        return [(self._utf8.decode(b"", final=True), True)]


class ByteFallbackStep:
    """Runs of tokens like `<0xE2>` to the text that their bytes are.

    A run that is not UTF-8 as a whole becomes one U+FFFD a byte, so nothing of a run can be
    shown before it is over.
    """

    def __init__(self) -> None:
        self._run = bytearray()

    def push(self, text: str, end: bool) -> list[Chunk]:
        value = byte_token_value(text)
        if value is not None:
            self._run.append(value)
            return []
        return [*self.finish(), (text, end)]

    def finish(self) -> list[Chunk]:
        run, self._run = self._run, bytearray()
        if not run:
            return []
        try:
            return [(run.decode(), True)]
        except UnicodeDecodeError:
            return [("\ufffd", True)] * len(run)


class FuseStep:
    """All tokens to one."""

    def push(self, text: str, end: bool) -> list[Chunk]:
        return [(text, False)]

    def finish(self) -> list[Chunk]:
        return [("", True)]


class MetaspaceStep(_Plain):
    """`replacement` to spaces; in the first token they are left out if one was `prepended`."""

    def __init__(self, replacement: str, *, prepended: bool) -> None:
        self._replacement = replacement
        self._drop = prepended

    def push(self, text: str, end: bool) -> list[Chunk]:
        text = text.replace(self._replacement, "" if self._drop else " ")
        if end:
            self._drop = False
        return [(text, end)]


class _WholeTokens:
    """A step that must see a token whole; parts are kept until the token ends."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def push(self, text: str, end: bool) -> list[Chunk]:
        self._parts.append(text)
        return self.finish() if end else []

    def finish(self) -> list[Chunk]:
        if not self._parts:
            return []
        text, self._parts = "".join(self._parts), []
        return [(self._token(text), True)]

    def _token(self, text: str) -> str:
        raise NotImplementedError


class ReplaceStep(_WholeTokens):
    """Every match of a text or a pattern in a token to `content`."""

    def __init__(self, pattern: str | Pattern, content: str) -> None:
        super().__init__()
        self._pattern = pattern
        self._content = content

    def push(self, text: str, end: bool) -> list[Chunk]:
        # One character cannot be torn apart between parts, so it need not wait.
        if isinstance(self._pattern, str) and len(self._pattern) == 1:
            return [(text.replace(self._pattern, self._content), end)]
        return super().push(text, end)

    def _token(self, text: str) -> str:
        if isinstance(self._pattern, str):
            return text.replace(self._pattern, self._content)
        return self._pattern.sub(self._content, text)


_CLEANUP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


class WordPieceStep(_WholeTokens):
    """Tokens with `prefix` go on in a word, others begin one; `cleanup` closes up punctuation."""

    def __init__(self, prefix: str, *, cleanup: bool) -> None:
        super().__init__()
        self._prefix = prefix
        self._cleanup = cleanup
        self._first = True

    def _token(self, text: str) -> str:
        if self._first:
            self._first = False
        elif text.startswith(self._prefix):
            text = text[len(self._prefix) :]
        else:
            text = f" {text}"
        if self._cleanup:
            for old, new in _CLEANUP:
                text = text.replace(old, new)
        return text


class BPEStep:
    """`suffix` ends a word: a space, except at the end of the text."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._waiting: str | None = None
        self._parts: list[str] = []

    def push(self, text: str, end: bool) -> list[Chunk]:
        self._parts.append(text)
        if not end:
            return []
        before, self._waiting, self._parts = self._waiting, "".join(self._parts), []
        return [] if before is None else [(before.replace(self._suffix, " "), True)]

    def finish(self) -> list[Chunk]:
        chunks = self.push("", True) if self._parts else []
        if self._waiting is not None:
            chunks.append((self._waiting.replace(self._suffix, ""), True))
            self._waiting = None
        return chunks


class StripStep:
    """Up to `start` characters `content` off the beginning of a token, up to `stop` off its end."""

    def __init__(self, content: str, start: int, stop: int) -> None:
        self._content = content
        self._start = start
        self._stop = stop
        self._to_cut = start
        self._held = ""

    def push(self, text: str, end: bool) -> list[Chunk]:
        cut = 0
        while cut < min(self._to_cut, len(text)) and text[cut] == self._content:
            cut += 1
        self._to_cut = 0 if cut < len(text) else self._to_cut - cut
        text = self._held + text[cut:]
        # What may still be cut off the end is held back.
        keep = len(text)
        while len(text) - keep < self._stop and keep and text[keep - 1] == self._content:
            keep -= 1
        self._held = "" if end else text[keep:]
        if end:
            self._to_cut = self._start
        return [(text[:keep], end)]

    def finish(self) -> list[Chunk]:
        self._held = ""
        return []


def run(steps: Sequence[Step], tokens: Sequence[str]) -> str:
    """The text of whole tokens, for trying steps out."""
    sink = _StepsSink(lambda index: tokens[index], list(steps))
    return "".join([sink.push(index) for index in range(len(tokens))]) + sink.flush()
