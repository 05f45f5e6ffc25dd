"""What a decoder's GGUF file says of its tokens, from a Hugging Face folder.

The bundle holds the folder's own tokenizer.json, and that is what encodes and decodes. The file
names the tokens by their ids, as every GGUF file does, and has the chat template.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlr.errors import FormatError, UnsupportedModelError
from mlr.tokenizer import Tokenizer, load_tokenizer
from mlr_build.hf_family import CONTROL, NORMAL, UNUSED, Config, integer
from mlr_build.huggingface import chat_template, read_json

__all__ = ["decoder_tokenizer"]

_MAX_PADDING = 1 << 16  # embeddings without a token


def decoder_tokenizer(folder: Path, config: Config) -> dict[str, Any]:
    """The keys about tokens, for a byte-level BPE.

    Raises `UnsupportedModelError` for other tokenizers, and for tokens that should end a text and
    are not known to; `FormatError` for one that does not fit the model.
    """
    path = folder / "tokenizer.json"
    content = read_json(path)
    model = content.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind != "BPE" or not _is_byte_level(content.get("decoder")):
        raise UnsupportedModelError(
            f"{path}: the tokenizer {kind!r:.40} is not converted; BPE of bytes is"
        )
    tokenizer = load_tokenizer("huggingface", path.read_bytes())
    known, rows = tokenizer.vocabulary_size, integer(config, "vocab_size")
    if not known <= rows <= known + _MAX_PADDING:
        raise FormatError(
            str(path), "vocab", 0, f"has {known} tokens; config.json's vocab_size is {rows}"
        )
    _check_ends(folder, config, tokenizer)
    tokens = [tokenizer.piece(token) for token in range(known)]
    if not all(map(_is_text, tokens)):
        raise FormatError(str(path), "vocab", 0, "has a token that is not Unicode text")
    hidden = tokenizer.hidden_ids
    kinds = [CONTROL if i in hidden else NORMAL if tokens[i] else UNUSED for i in range(known)]
    prefix = "tokenizer.ggml."
    metadata: dict[str, Any] = {
        prefix + "model": "gpt2",
        prefix + "tokens": tokens + [f"[PAD{i}]" for i in range(known, rows)],
        prefix + "token_type": kinds + [UNUSED] * (rows - known),
    }
    template = chat_template(folder)
    if template is not None:
        if not _is_text(template):
            raise FormatError(str(folder), "chat_template", 0, "is not Unicode text")
        metadata["tokenizer.chat_template"] = template
    return metadata


def _is_byte_level(decoder: Any) -> bool:
    if not isinstance(decoder, dict):
        return False
    steps = decoder.get("decoders")
    return decoder.get("type") == "ByteLevel" or (
        isinstance(steps, list) and any(map(_is_byte_level, steps))
    )


def _is_text(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _check_ends(folder: Path, config: Config, tokenizer: Tokenizer) -> None:
    """A bundle knows the tokens that end a text by their usual names."""
    ends: set[Any] = set()
    settings = folder / "generation_config.json"
    for where in (config, read_json(settings) if settings.is_file() else {}):
        given = where.get("eos_token_id")
        ends |= set(map(str, given)) if isinstance(given, list) else {str(given)}
    known = set(map(str, tokenizer.end_ids))
    for end in sorted(ends - {"None"} - known):
        named = end.isdecimal() and len(end) < 10 and int(end) < tokenizer.vocabulary_size
        raise UnsupportedModelError(
            f"{folder.name}: eos_token_id is {end:.40}"
            + (f" ({tokenizer.piece(int(end))!r:.60})" if named else "")
            + ", which tokenizer.json has not as a special token of a usual name; generation would "
            "not end there"
        )
