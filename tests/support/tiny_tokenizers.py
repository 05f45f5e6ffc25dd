"""Tokenizers of about 300 tokens that llama.cpp and mlr can both use."""

from __future__ import annotations

import gguf

__all__ = ["add_bpe_tokenizer", "add_spm_tokenizer"]

NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6
PIECES = ("th", "he", "in", "er", "an", "the", "and", "ing", "on", "at", "ou", "is", "it")
LETTERS = "etaoinshrdlucmfwypvbgk"


def add_spm_tokenizer(writer: gguf.GGUFWriter, n_vocab: int, last: str | None = None) -> None:
    """SentencePiece BPE: three control tokens, 256 byte tokens, then pieces.

    `last` is a name for the last of these, for models that llama.cpp expects to have such a token.
    """
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256]
    pieces = ["▁", *LETTERS, *PIECES, *("▁" + piece for piece in PIECES)]
    _fill(tokens, types, pieces, n_vocab)
    tokens[-1] = last or tokens[-1]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    # A piece's score is its rank: earlier pieces are merged first.
    writer.add_token_scores([float(-max(i - 258, 0)) for i in range(n_vocab)])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)


def add_bpe_tokenizer(writer: gguf.GGUFWriter, n_vocab: int) -> None:
    """Byte-level BPE as in GPT-2: 256 byte characters, merges, one end token."""
    merges = [
        *("t h", "h e", "i n", "e r", "a n", "th e", "an d", "in g", "o n", "a t", "o u", "i s"),
        *("Ġ t", "Ġ a", "Ġt he", "Ġ s", "Ġ w", "Ġ o", "Ġa nd", "Ġo f", "Ġ 1"),
    ]
    tokens = [*_byte_characters(), *(merge.replace(" ", "") for merge in merges), "<|endoftext|>"]
    end = len(tokens) - 1
    types = [*[NORMAL] * end, CONTROL]
    _fill(tokens, types, [], n_vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)


def _fill(tokens: list[str], types: list[int], pieces: list[str], n_vocab: int) -> None:
    """Append as many pieces as fit, then unused tokens, up to `n_vocab`."""
    room = n_vocab - len(tokens)
    if room < 0:
        raise ValueError(f"a tiny tokenizer has at least {len(tokens)} tokens, not {n_vocab}")
    tokens += pieces[:room]
    types += [NORMAL] * len(pieces[:room])
    while len(tokens) < n_vocab:
        tokens.append(f"<unused{len(tokens)}>")
        types.append(UNUSED)


def _byte_characters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in the order of their code points."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [*map(chr, printable), *(chr(256 + i) for i in range(len(hidden)))]
