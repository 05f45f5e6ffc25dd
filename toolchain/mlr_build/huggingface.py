"""A folder as Hugging Face's libraries write it: safetensors, config.json, tokenizer.json."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlr.bundle.manifest import EmbeddingSettings
from mlr.errors import FormatError, UnsupportedModelError

__all__ = [
    "SentenceSettings",
    "chat_template",
    "is_huggingface",
    "license_of",
    "read_json",
    "sentence_settings",
]

MAX_JSON_BYTES = 64 << 20
MAX_TOKENS = 1 << 24  # where there is no limit, transformers writes 10^30
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # of the files instead of it, NAME-00001-of-… each
_POOLING = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}


def is_huggingface(folder: Path) -> bool:
    """Whether the folder holds a model of this kind."""
    weights = (folder / WEIGHTS, folder / INDEX)
    return (folder / "config.json").is_file() and any(path.is_file() for path in weights)


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file; raises `FormatError`."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise FormatError(str(path), "file", 0, f"is larger than {MAX_JSON_BYTES} bytes")
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FormatError(str(path), "file", 0, "is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(str(path), "file", 0, f"is not JSON that can be read: {error}") from error
    if not isinstance(value, dict):
        raise FormatError(str(path), "file", 0, "must hold an object")
    return value


@dataclass(frozen=True, slots=True)
class SentenceSettings:
    """What sentence-transformers' files say of a model's embeddings, or of a cross-encoder."""

    pooling: str
    normalize: bool
    embedding: EmbeddingSettings = field(default_factory=EmbeddingSettings)


def sentence_settings(folder: Path) -> SentenceSettings | None:
    """The settings, or None for a folder that is neither theirs nor a classifier's.

    Raises `UnsupportedModelError` for modules that are not computed here.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return _cross_encoder(folder) if _classifies(folder) else None
    try:
        modules = json.loads(path.read_bytes())
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        places = {kind: str(module["path"]) for kind, module in zip(kinds, modules, strict=True)}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(str(path), "modules", 0, f"cannot be read: {error}") from error
    if kinds == ["Transformer"] and _classifies(folder):
        return _cross_encoder(folder)
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnsupportedModelError(
            f"{path}: the modules {', '.join(kinds)} are not supported; "
            "supported: Transformer, Pooling, Normalize"
        )
    return SentenceSettings(
        pooling=_pooling(folder / places["Pooling"] / "config.json"),
        normalize="Normalize" in kinds,
        embedding=_embedding(folder),
    )


def _classifies(folder: Path) -> bool:
    names = read_json(folder / "config.json").get("architectures")
    if not isinstance(names, list) or len(names) != 1:
        return False
    return str(names[0]).endswith("ForSequenceClassification")


def _cross_encoder(folder: Path) -> SentenceSettings:
    return SentenceSettings("rank", False, _embedding(folder))


def _pooling(path: Path) -> str:
    config = read_json(path)
    modes = [name for name, value in config.items() if "_mode_" in name and value is True]
    if len(modes) != 1 or modes[0] not in _POOLING:
        raise UnsupportedModelError(
            f"{path}: the pooling {', '.join(modes) or 'none'} is not supported; "
            f"supported: one of {', '.join(_POOLING)}"
        )
    return _POOLING[modes[0]]


def _embedding(folder: Path) -> EmbeddingSettings:
    longest: Any = None
    if (folder / "sentence_bert_config.json").is_file():
        longest = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    if longest is None and (folder / "tokenizer_config.json").is_file():
        limit = read_json(folder / "tokenizer_config.json").get("model_max_length")
        longest = limit if type(limit) is int and limit <= MAX_TOKENS else None
    prompts: Any = {}
    default: Any = None
    path = folder / "config_sentence_transformers.json"
    if path.is_file():
        config = read_json(path)
        prompts = config.get("prompts") or {}
        default = config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(v, str) for v in prompts.values()):
        raise FormatError(str(path), "prompts", 0, "must map names to texts")
    try:
        "".join([*prompts, *prompts.values()]).encode()
    except UnicodeEncodeError:
        raise FormatError(str(path), "prompts", 0, "have half of a surrogate pair") from None
    if default is not None and (not isinstance(default, str) or default not in prompts):
        raise FormatError(str(path), "default_prompt_name", 0, "is not among the prompts")
    if longest is not None and (type(longest) is not int or longest < 1):
        raise FormatError(str(folder), "max_seq_length", 0, "must be a positive integer")
    return EmbeddingSettings(longest, prompts, default)


def license_of(folder: Path) -> str | None:
    """The licence that the model card names in its front matter."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    head = card.read_bytes()[:65536].decode("utf-8", "replace")
    match = re.match(r"---\n(.*?)\n---", head, re.DOTALL)
    named = re.search(r"^license:\s*([A-Za-z0-9._-]{1,60})\s*$", match[1], re.M) if match else None
    return named[1] if named else None


def chat_template(folder: Path) -> str | None:
    """The chat template, of several the default one; raises `FormatError`."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        if path.stat().st_size > MAX_JSON_BYTES:
            raise FormatError(str(path), "file", 0, f"is larger than {MAX_JSON_BYTES} bytes")
        try:
            return path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(str(path), "file", error.start, "is not UTF-8") from None
    path = folder / "tokenizer_config.json"
    template: Any = read_json(path).get("chat_template") if path.is_file() else None
    if isinstance(template, list):
        named = [entry for entry in template if isinstance(entry, dict)]
        template = next((e.get("template") for e in named if e.get("name") == "default"), None)
    if template is not None and not isinstance(template, str):
        raise FormatError(str(path), "chat_template", 0, "must be text")
    return template
