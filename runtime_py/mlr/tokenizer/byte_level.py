"""GPT-2's alphabet for bytes: every byte has a visible character, so tokens are plain text."""

from __future__ import annotations

from functools import cache

__all__ = ["byte_characters", "byte_values", "encode_bytes"]


@cache
def byte_characters() -> str:
    """The character of every byte value, as a text of 256 characters.

    Bytes that are visible characters in Latin-1 stand for themselves, the others for the
    characters from U+0100 on, in order.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    characters: list[str] = []
    others = 0
    for value in range(256):
        if value in visible:
            characters.append(chr(value))
        else:
            characters.append(chr(0x100 + others))
            others += 1
    return "".join(characters)


@cache
def _by_latin1() -> dict[int, str]:
    return dict(enumerate(byte_characters()))


@cache
def byte_values() -> dict[str, int]:
    """The byte value of every character of the alphabet."""
    return {character: value for value, character in enumerate(byte_characters())}


def encode_bytes(text: str) -> str:
    """The UTF-8 bytes of `text` in the alphabet."""
    return text.encode().decode("latin-1").translate(_by_latin1())
