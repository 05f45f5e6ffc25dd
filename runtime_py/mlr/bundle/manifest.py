"""The manifest of a bundle: what it holds, as plain data; `manifest_reader` checks it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from mlr.formats.model_config import ModelConfig

__all__ = [
    "EmbeddingSettings",
    "FileEntry",
    "License",
    "Manifest",
    "Origin",
    "Shard",
    "SpecialToken",
    "SpecialTokens",
    "TensorEntry",
    "TokenizerEntry",
    "Variant",
]

SCHEMA = "https://mlr.dev/bundle"
SCHEMA_VERSION = 2
MANIFEST_NAME = "manifest.json"

MAX_MANIFEST_BYTES = 16 << 20

LATER_FIELDS = ("tokenizer_json", "special_tokens", "embedding")  # missing in version 1


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A small file of the bundle: its path in it, its size in bytes and its SHA-256."""

    file: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TokenizerEntry(FileEntry):
    """The tokenizer's file; `format` is one of `FORMATS` in `mlr.tokenizer.loading`."""

    format: str


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """A token with a part to play: its id, and its text as chat templates want it."""

    id: int
    text: str


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """What a client needs to know of the tokenizer besides its file.

    `ends` are the ids that end a generation; `before` and `after` are the ids that belong
    around a text (the beginning-of-sequence token, or [CLS] and [SEP]), unless a chat template
    has written them.
    """

    bos: SpecialToken | None
    eos: SpecialToken | None
    unk: SpecialToken | None
    pad: SpecialToken | None
    ends: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EmbeddingSettings:
    """How texts are made into embeddings, as the model's own files say.

    `max_tokens`: a longer text is cut (None: the context's length). `prompts` are texts to put
    in front of a text, by what they are for; `default_prompt` names one of them.
    """

    max_tokens: int | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class License:
    """The model's licence: an identifier, a notice to show, where to read it, its files."""

    id: str
    notice: str
    url: str | None
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the model came from, and the SHA-256 of the file that was packaged."""

    source: str
    version: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of the variant's file, with the SHA-256 of each of its chunks."""

    file: str
    size: int
    sha256: str
    chunks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor: shape (rows, columns) or (length,), its place in the variant's file."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Variant:
    """The weights in one format: shards that make a whole file when put in a row."""

    id: str
    format: str
    quantization: str
    engines: tuple[str, ...]
    size: int
    sha256: str
    data_offset: int
    chunk_size: int
    shards: tuple[Shard, ...]
    config: ModelConfig
    tensors: tuple[TensorEntry, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything in `manifest.json`.

    `tokenizer_json` is what a Hugging Face tokenizer.json would say besides the vocabulary, merges
    and added tokens of a packed `tokenizer`, for clients in JavaScript; None when `tokenizer` is a
    tokenizer.json itself, or of a kind that those do not read. `embedding` is None where the source
    says nothing of it. Bundles of version 1 have none of the last three.
    """

    name: str
    created_by: str
    task: str
    architecture: str
    parameters: int
    context_length: int
    license: License
    origin: Origin
    tokenizer: TokenizerEntry
    chat_template: FileEntry | None
    files: tuple[FileEntry, ...]
    variants: tuple[Variant, ...]
    tokenizer_json: FileEntry | None = None
    special_tokens: SpecialTokens | None = None
    embedding: EmbeddingSettings | None = None

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON-ready data."""
        return {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **asdict(self)}

    def encode(self) -> bytes:
        """The bytes of `manifest.json`: the same manifest always gives the same bytes."""
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=1, allow_nan=False)
        return (text + "\n").encode("utf-8")
