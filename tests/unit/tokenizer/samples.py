"""The smallest tokenizers of every kind, as the files hold them, to be broken by tests."""

from __future__ import annotations

from typing import Any

__all__ = ["bert", "bpe", "gguf_bpe", "huggingface", "spm", "t5"]

BYTES = [f"<0x{value:02X}>" for value in range(256)]


def _gguf(**fields: Any) -> dict[str, Any]:
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def spm(**changes: Any) -> dict[str, Any]:
    """SentencePiece BPE with all bytes and a few pieces."""
    pieces = ["▁", "a", "b", "ab", "▁a", "▁ab", "é"]
    fields: dict[str, Any] = {
        "model": "llama",
        "tokens": ["<unk>", "<s>", "</s>", *BYTES, *pieces],
        "token_type": [2, 3, 3, *[6] * 256, *[1] * len(pieces)],
        "scores": [0.0] * 259 + [-float(i) for i in range(len(pieces))],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
    return _gguf(**{**fields, **changes})


def gguf_bpe(**changes: Any) -> dict[str, Any]:
    """Byte-level BPE over the letters a, b and the space."""
    tokens = ["a", "b", "Ġ", "ab", "Ġa", "<|im_end|>", "<|endoftext|>"]
    fields: dict[str, Any] = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": [1] * 5 + [3, 3],
        "merges": ["a b", "Ġ a"],
        "eos_token_id": 6,
    }
    return _gguf(**{**fields, **changes})


def bert(**changes: Any) -> dict[str, Any]:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁he", "llo", "▁,"]
    fields: dict[str, Any] = {
        "model": "bert",
        "tokens": tokens,
        "token_type": [3, 2, 3, 3, 1, 1, 1],
        "bos_token_id": 2,
        "seperator_token_id": 3,
        "unknown_token_id": 1,
    }
    return _gguf(**{**fields, **changes})


def t5(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": "t5",
        "tokens": ["<pad>", "</s>", "<unk>", "▁", "a", "▁a", "ab"],
        "token_type": [3, 3, 2, 1, 1, 1, 1],
        "scores": [0.0, 0.0, 0.0, -3.0, -2.0, -1.0, -1.5],
        "eos_token_id": 1,
        "unknown_token_id": 2,
        "add_space_prefix": True,
    }
    return _gguf(**{**fields, **changes})


def bpe(**changes: Any) -> dict[str, Any]:
    """The model of a tokenizer.json."""
    vocab = {"a": 0, "b": 1, "ab": 2, "<unk>": 3}
    return {"type": "BPE", "vocab": vocab, "merges": [["a", "b"]], **changes}


def huggingface(model: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A tokenizer.json."""
    return {"version": "1.0", "added_tokens": [], "model": bpe() if model is None else model} | (
        changes
    )
