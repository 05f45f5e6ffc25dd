"""The manifest of a bundle: what it holds, as plain data that has been checked.

A manifest comes from the network and is taken for hostile: `parse_manifest` raises
`ManifestError` for whatever breaks the schema or contradicts itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from mlr.bundle.checked import CheckedObject, load_json
from mlr.errors import FormatError, ManifestError
from mlr.formats.expected_tensors import expected_tensors
from mlr.formats.ggml_types import KERNEL_TYPES, TYPES, row_bytes
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
    "parse_manifest",
]

SCHEMA = "https://mlr.dev/bundle"
SCHEMA_VERSION = 2
MANIFEST_NAME = "manifest.json"

MAX_MANIFEST_BYTES = 16 << 20
MAX_SMALL_FILE_BYTES = 256 << 20  # a tokenizer; licence texts are far smaller
MAX_FILES = 256
MAX_VARIANTS = 16
MAX_SHARDS = 1 << 16
MAX_CHUNKS = 1 << 17
MAX_TENSORS = 1 << 16
MAX_BYTES = 1 << 42
MIN_CHUNK_BYTES = 1 << 12
MAX_CHUNK_BYTES = 1 << 20  # a chunk passes through the kernel's staging buffer whole
MAX_TEXT = 1 << 13
MAX_TOKENS = 1 << 22
MAX_TOKEN_LENGTH = 1 << 16
MAX_SPECIAL_TOKENS = 1 << 10
MAX_PROMPTS = 256

LATER_FIELDS = ("tokenizer_json", "special_tokens", "embedding")  # missing in version 1

_SHA256 = re.compile("[0-9a-f]{64}")
# Every segment begins with a letter, a digit or _, so none can be "..", a drive or a root.
_PATH = re.compile("[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,7}")
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ENGINE = re.compile("[a-z][a-z0-9-]{0,31}")
_URL = re.compile("https?://[^\\s]+")


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

    `tokenizer_json` is the tokenizer as a Hugging Face tokenizer.json, for clients that read
    nothing else; None when `tokenizer` is one itself, or cannot be written as one. `embedding` is
    None where the source says nothing of it. Bundles of version 1 have none of the last three.
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


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Check and read the bytes of a manifest; `where` names it in messages.

    Raises `ManifestError`, or `UnsupportedModelError` for a model that cannot be computed.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{where}: is larger than {MAX_MANIFEST_BYTES} bytes")
    value = load_json(data, where)
    _check_schema(value, where)
    names = ["schema", "schema_version", *Manifest.__dataclass_fields__]
    top = CheckedObject(value, where, "", names, LATER_FIELDS)
    manifest = Manifest(
        name=top.text("name", 100, _NAME),
        created_by=top.text("created_by", 200),
        task=top.text("task", 40, re.compile("generate|embed|rank")),
        architecture=top.text("architecture", 64),
        parameters=top.integer("parameters", 1, MAX_BYTES),
        context_length=top.integer("context_length", 1, 1 << 30),
        license=_license(top.raw("license"), where),
        origin=_origin(top.raw("origin"), where),
        tokenizer=_tokenizer(top.raw("tokenizer"), where),
        tokenizer_json=_optional_file(top, "tokenizer_json"),
        special_tokens=_special_tokens(top.raw("special_tokens"), where),
        embedding=_embedding(top.raw("embedding"), where),
        chat_template=_optional_file(top, "chat_template"),
        files=top.items("files", 0, MAX_FILES, lambda item, path: _file(item, where, path)),
        variants=top.items(
            "variants", 1, MAX_VARIANTS, lambda item, path: _variant(item, where, path)
        ),
    )
    _check_whole(manifest, top)
    return manifest


def _check_schema(value: Any, where: str) -> None:
    """Before anything else: a newer schema may differ in any other way."""
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise ManifestError(f"{where}: schema: must be {SCHEMA!r}; this is not an mlr bundle")
    version = value.get("schema_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ManifestError(f"{where}: schema_version: must be a positive integer")
    if version > SCHEMA_VERSION:
        raise ManifestError(
            f"{where}: schema_version: this bundle has version {version} and this mlr reads "
            f"up to {SCHEMA_VERSION}; upgrade mlr (pip install --upgrade mlr)"
        )


def _check_whole(manifest: Manifest, top: CheckedObject) -> None:
    """What fields say about each other."""
    optional = (manifest.chat_template, manifest.tokenizer_json)
    entries = [manifest.tokenizer, *manifest.files, *filter(None, optional)]
    paths = [entry.file.casefold() for entry in entries]  # some file systems ignore case
    for path in paths:
        if path == MANIFEST_NAME or path.split("/")[0] == "shards":
            raise top.error("files", f"{path!r} is a name that the bundle itself uses")
    if len(set(paths)) != len(paths):
        raise top.error("files", "a path is there twice")
    known = {entry.file for entry in manifest.files}
    for name in manifest.license.files:
        if name not in known:
            raise top.error("license.files", f"{name!r} is not among the bundle's files")
    if len({variant.id for variant in manifest.variants}) != len(manifest.variants):
        raise top.error("variants", "an id is there twice")
    for variant in manifest.variants:
        if variant.config.architecture != manifest.architecture:
            raise top.error("architecture", f"differs from that of variant {variant.id}")


def _license(value: Any, where: str) -> License:
    entry = CheckedObject(value, where, "license", License.__dataclass_fields__)
    return License(
        id=entry.text("id", 100),
        notice=entry.text("notice", MAX_TEXT),
        url=entry.optional_text("url", 2048, _URL),
        files=entry.items("files", 0, MAX_FILES, lambda item, path: _path(item, where, path)),
    )


def _origin(value: Any, where: str) -> Origin:
    entry = CheckedObject(value, where, "origin", Origin.__dataclass_fields__)
    return Origin(
        source=entry.text("source", 2048),
        version=entry.optional_text("version", 100, None),
        sha256=entry.text("sha256", 64, _SHA256),
    )


def _tokenizer(value: Any, where: str) -> TokenizerEntry:
    entry = CheckedObject(value, where, "tokenizer", ("file", "size", "sha256", "format"))
    return TokenizerEntry(
        *_file_fields(entry), entry.text("format", 40, re.compile("packed|gguf|huggingface"))
    )


def _special_tokens(value: Any, where: str) -> SpecialTokens | None:
    if value is None:
        return None
    entry = CheckedObject(value, where, "special_tokens", SpecialTokens.__dataclass_fields__)

    def token(name: str) -> SpecialToken | None:
        if entry.raw(name) is None:
            return None
        fields = SpecialToken.__dataclass_fields__
        item = CheckedObject(entry.raw(name), where, f"special_tokens.{name}", fields)
        return SpecialToken(item.integer("id", 0, MAX_TOKENS), item.text("text", MAX_TOKEN_LENGTH))

    def ids(name: str) -> tuple[int, ...]:
        return entry.items(name, 0, MAX_SPECIAL_TOKENS, lambda item, at: _token_id(item, where, at))

    return SpecialTokens(
        bos=token("bos"),
        eos=token("eos"),
        unk=token("unk"),
        pad=token("pad"),
        ends=ids("ends"),
        before=ids("before"),
        after=ids("after"),
    )


def _embedding(value: Any, where: str) -> EmbeddingSettings | None:
    if value is None:
        return None
    entry = CheckedObject(value, where, "embedding", EmbeddingSettings.__dataclass_fields__)
    prompts = entry.raw("prompts")
    if not isinstance(prompts, dict) or len(prompts) > MAX_PROMPTS:
        raise entry.error("prompts", f"must be an object of at most {MAX_PROMPTS} texts")
    checked = CheckedObject(prompts, where, "embedding.prompts", prompts)
    longest = entry.raw("max_tokens")
    settings = EmbeddingSettings(
        None if longest is None else entry.integer("max_tokens", 1, 1 << 30),
        {name: checked.text(name, MAX_TEXT) for name in prompts},
        entry.optional_text("default_prompt", MAX_TEXT, None),
    )
    if settings.default_prompt is not None and settings.default_prompt not in prompts:
        raise entry.error("default_prompt", "is not among the prompts")
    return settings


def _token_id(value: Any, where: str, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        raise ManifestError(f"{where}: {path}: must be the id of a token, got {value!r:.60}")
    return value


def _optional_file(top: CheckedObject, name: str) -> FileEntry | None:
    return None if top.raw(name) is None else _file(top.raw(name), top.where, name)


def _file(value: Any, where: str, path: str) -> FileEntry:
    entry = CheckedObject(value, where, path, FileEntry.__dataclass_fields__)
    return FileEntry(*_file_fields(entry))


def _file_fields(entry: CheckedObject) -> tuple[str, int, str]:
    return (
        entry.text("file", 255, _PATH),
        entry.integer("size", 0, MAX_SMALL_FILE_BYTES),
        entry.text("sha256", 64, _SHA256),
    )


def _path(value: Any, where: str, path: str) -> str:
    if not isinstance(value, str) or len(value) > 255 or not _PATH.fullmatch(value):
        raise ManifestError(f"{where}: {path}: {value!r:.80} is not a path inside the bundle")
    return value


def _hash(value: Any, where: str, path: str) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ManifestError(f"{where}: {path}: must be a SHA-256 in lower hexadecimal digits")
    return value


def _variant(value: Any, where: str, path: str) -> Variant:
    entry = CheckedObject(value, where, path, Variant.__dataclass_fields__)
    chunk_size = entry.integer("chunk_size", MIN_CHUNK_BYTES, MAX_CHUNK_BYTES)
    if chunk_size & (chunk_size - 1):
        raise entry.error("chunk_size", f"must be a power of two, got {chunk_size}")
    try:
        if not isinstance(entry.raw("config"), dict):
            raise entry.error("config", "must be an object")
        config = ModelConfig.from_json(entry.raw("config"))
    except FormatError as error:
        raise entry.error(f"config.{error.field}", error.problem) from error
    size = entry.integer("size", 1, MAX_BYTES)
    variant = Variant(
        id=entry.text("id", 100, _NAME),
        format=entry.text("format", 40, re.compile("gguf")),
        quantization=entry.text("quantization", 40, re.compile("[A-Za-z0-9_]+")),
        engines=entry.items("engines", 1, 16, lambda item, at: _engine(item, where, at)),
        size=size,
        sha256=entry.text("sha256", 64, _SHA256),
        data_offset=entry.integer("data_offset", 0, size),
        chunk_size=chunk_size,
        shards=entry.items("shards", 1, MAX_SHARDS, lambda item, at: _shard(item, where, at)),
        config=config,
        tensors=entry.items("tensors", 1, MAX_TENSORS, lambda item, at: _tensor(item, where, at)),
    )
    _check_shards(variant, entry)
    _check_tensors(variant, entry)
    return variant


def _engine(value: Any, where: str, path: str) -> str:
    if not isinstance(value, str) or not _ENGINE.fullmatch(value):
        raise ManifestError(f"{where}: {path}: {value!r:.60} is not the name of an engine")
    return value


def _shard(value: Any, where: str, path: str) -> Shard:
    entry = CheckedObject(value, where, path, Shard.__dataclass_fields__)
    shard = Shard(
        file=entry.text("file", 255, _PATH),
        size=entry.integer("size", 1, MAX_BYTES),
        sha256=entry.text("sha256", 64, _SHA256),
        chunks=entry.items("chunks", 1, MAX_CHUNKS, lambda item, at: _hash(item, where, at)),
    )
    if shard.file != f"shards/{shard.sha256}":
        raise entry.error("file", "must be shards/ and the shard's SHA-256")
    return shard


def _tensor(value: Any, where: str, path: str) -> TensorEntry:
    entry = CheckedObject(value, where, path, TensorEntry.__dataclass_fields__)

    def dimension(item: Any, at: str) -> int:
        if isinstance(item, bool) or not isinstance(item, int) or not 1 <= item <= MAX_BYTES:
            raise ManifestError(f"{where}: {at}: must be a positive integer, got {item!r:.60}")
        return item

    tensor = TensorEntry(
        name=entry.text("name", 64),
        type=entry.text("type", 16),
        shape=entry.items("shape", 1, 4, dimension),
        offset=entry.integer("offset", 0, MAX_BYTES),
        size=entry.integer("size", 1, MAX_BYTES),
    )
    kind = TYPES.get(tensor.type)
    if kind is None:
        raise entry.error("type", f"{tensor.type!r} is not a known tensor type")
    rows = 1
    for length in tensor.shape[:-1]:
        rows *= length
    try:
        size = rows * row_bytes(kind, tensor.shape[-1])
    except ValueError as error:
        raise entry.error("shape", str(error)) from error
    if size != tensor.size:
        raise entry.error("size", f"{list(tensor.shape)} of {kind.name} takes {size} bytes")
    return tensor


def _check_shards(variant: Variant, entry: CheckedObject) -> None:
    """Sizes add up, and every shard but the last is whole chunks."""
    total, last = 0, len(variant.shards) - 1
    sizes: dict[str, int] = {}
    for index, shard in enumerate(variant.shards):
        total += shard.size
        if index != last and shard.size % variant.chunk_size:
            raise entry.error(f"shards[{index}].size", "is not a multiple of chunk_size")
        expected = -(-shard.size // variant.chunk_size)
        if len(shard.chunks) != expected:
            raise entry.error(
                f"shards[{index}].chunks", f"must have {expected} items, has {len(shard.chunks)}"
            )
        if sizes.setdefault(shard.sha256, shard.size) != shard.size:
            raise entry.error(f"shards[{index}].size", "differs from that of the same shard before")
    if total != variant.size:
        raise entry.error("size", f"is {variant.size}, but the shards have {total} bytes together")


def _check_tensors(variant: Variant, entry: CheckedObject) -> None:
    """Exactly the tensors that the architecture computes with, inside the file, not overlapping."""
    tensors = {tensor.name: tensor for tensor in variant.tensors}
    if len(tensors) != len(variant.tensors):
        raise entry.error("tensors", "a name is there twice")
    known = set()
    for expected in expected_tensors(variant.config):
        known.add(expected.name)
        tensor = tensors.get(expected.name)
        if tensor is None:
            if expected.required:
                raise entry.error("tensors", f"{expected.name} is missing")
        elif not expected.fits(tensor.shape):
            raise entry.error(
                "tensors",
                f"{expected.name} must have the shape {list(expected.shape)}, "
                f"has {list(tensor.shape)}",
            )
    end = variant.data_offset
    for tensor in sorted(variant.tensors, key=lambda tensor: tensor.offset):
        if tensor.name not in known:
            raise entry.error(
                "tensors", f"{tensor.name!r} is not a tensor of {variant.config.architecture}"
            )
        if tensor.offset < end:
            raise entry.error("tensors", f"{tensor.name} overlaps what lies before it")
        end = tensor.offset + tensor.size
        if "kernel" in variant.engines and tensor.type not in KERNEL_TYPES:
            raise entry.error("engines", f"the kernel does not compute with {tensor.type}")
    if end > variant.size:
        raise entry.error("tensors", "the last tensor ends after the file")
