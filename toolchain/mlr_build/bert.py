"""BERT's encoders and cross-encoders in Hugging Face folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlr.errors import FormatError, UnsupportedModelError
from mlr_build.hf_family import CONTROL, NORMAL, UNKNOWN, Config, Family, integer, number, require
from mlr_build.huggingface import SentenceSettings, read_json

__all__ = ["BERT"]

_POOLING_TYPES = ("none", "mean", "cls", "last", "rank")  # by `pooling_type`


def _metadata(config: Config, settings: SentenceSettings | None) -> dict[str, Any]:
    require(config, "hidden_act", "gelu")
    require(config, "position_embedding_type", "absolute")
    pooling = settings.pooling if settings else "mean"
    return {
        "context_length": integer(config, "max_position_embeddings"),
        "embedding_length": integer(config, "hidden_size"),
        "feed_forward_length": integer(config, "intermediate_size"),
        "block_count": integer(config, "num_hidden_layers"),
        "attention.head_count": integer(config, "num_attention_heads"),
        "attention.layer_norm_epsilon": number(config, "layer_norm_eps", 1e-12),
        "attention.causal": False,
        "pooling_type": _POOLING_TYPES.index(pooling),
    }


def _vocabulary(folder: Path, _: Config) -> dict[str, Any]:
    """WordPiece's for other readers of GGUF. mlr itself reads the tokenizer.json."""
    path = folder / "tokenizer.json"
    content = read_json(path)
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    kind = model.get("type") if isinstance(model, dict) else None
    if kind != "WordPiece" or not isinstance(vocabulary, dict) or not vocabulary:
        raise UnsupportedModelError(f"{path}: the tokenizer {kind!r:.40} is not converted")
    ids = list(vocabulary.values())
    if any(type(id) is not int for id in ids) or sorted(ids) != list(range(len(ids))):
        raise FormatError(str(path), "vocab", 0, "has ids that are not 0, 1, 2, …")
    added = content.get("added_tokens", [])
    if not isinstance(added, list) or not all(isinstance(entry, dict) for entry in added):
        raise FormatError(str(path), "added_tokens", 0, "must be a list of tokens")
    special = {str(entry.get("content")) for entry in added if entry.get("special")}
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    unknown = model.get("unk_token", "[UNK]") if isinstance(model, dict) else "[UNK]"
    prefix = "tokenizer.ggml."
    found = {
        "bos_token_id": "[CLS]",
        "seperator_token_id": "[SEP]",  # spelled so in the format
        "unknown_token_id": unknown,
        "padding_token_id": "[PAD]",
        "mask_token_id": "[MASK]",
    }
    return {
        prefix + "model": "bert",
        prefix + "tokens": [_gguf_token(token) for token in ordered],
        prefix + "token_type": [
            UNKNOWN if token == unknown else CONTROL if token in special else NORMAL
            for token in ordered
        ],
        **{prefix + key: vocabulary[name] for key, name in found.items() if name in vocabulary},
    }


def _gguf_token(token: str) -> str:
    """GGUF marks beginnings of words, not what goes on inside them."""
    if token.startswith("[") and token.endswith("]"):
        return token
    return token.removeprefix("##") if token.startswith("##") else "▁" + token


_LAYER = r"(?:bert\.)?encoder\.layer\.(\d+)\."
_PART = r"\.(weight|bias)"

BERT = Family(
    "bert",
    _metadata,
    _vocabulary,
    (
        (r"(?:bert\.)?embeddings\.word_embeddings\.weight", "token_embd.weight"),
        (r"(?:bert\.)?embeddings\.position_embeddings\.weight", "position_embd.weight"),
        (r"(?:bert\.)?embeddings\.token_type_embeddings\.weight", "token_types.weight"),
        (r"(?:bert\.)?embeddings\.LayerNorm" + _PART, r"token_embd_norm.\1"),
        (_LAYER + r"attention\.self\.query" + _PART, r"blk.\1.attn_q.\2"),
        (_LAYER + r"attention\.self\.key" + _PART, r"blk.\1.attn_k.\2"),
        (_LAYER + r"attention\.self\.value" + _PART, r"blk.\1.attn_v.\2"),
        (_LAYER + r"attention\.output\.dense" + _PART, r"blk.\1.attn_output.\2"),
        (_LAYER + r"attention\.output\.LayerNorm" + _PART, r"blk.\1.attn_output_norm.\2"),
        (_LAYER + r"intermediate\.dense" + _PART, r"blk.\1.ffn_up.\2"),
        (_LAYER + r"output\.dense" + _PART, r"blk.\1.ffn_down.\2"),
        (_LAYER + r"output\.LayerNorm" + _PART, r"blk.\1.layer_output_norm.\2"),
        (r"bert\.pooler\.dense" + _PART, r"cls.\1"),
        (r"classifier" + _PART, r"cls.output.\1"),
    ),
    # A pooler without a classifier is what is left of BERT's training.
    ignored=r"(embeddings|bert\.embeddings)\.position_ids|pooler\..*",
    kept=r"(position_embd|token_types|cls|cls\.output)\.weight",
)
