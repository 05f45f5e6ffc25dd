"""Reads a manifest. It comes from the network and is taken for hostile: whatever breaks the schema
or contradicts itself is a `ManifestError`.
"""

from __future__ import annotations

import re
from typing import Any

from mlr.bundle.checked import CheckedObject, load_json
from mlr.bundle.manifest import (
    LATER_FIELDS,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SCHEMA,
    SCHEMA_VERSION,
    EmbeddingSettings,
    FileEntry,
    License,
    Manifest,
    Origin,
    SpecialToken,
    SpecialTokens,
    TokenizerEntry,
)
from mlr.bundle.variant_reader import MAX_BYTES, NAME, PATH, SHA256, read_variant
from mlr.errors import ManifestError

__all__ = ["parse_manifest"]

MAX_SMALL_FILE_BYTES = 256 << 20  # a tokenizer; licence texts are far smaller
MAX_FILES = 256
MAX_VARIANTS = 16
MAX_TEXT = 1 << 13
MAX_TOKENS = 1 << 22
MAX_TOKEN_LENGTH = 1 << 16
MAX_SPECIAL_TOKENS = 1 << 10
MAX_PROMPTS = 256

_URL = re.compile("https?://[^\\s]+")


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
        name=top.text("name", 100, NAME),
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
            "variants", 1, MAX_VARIANTS, lambda item, path: read_variant(item, where, path)
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
        sha256=entry.text("sha256", 64, SHA256),
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
        entry.text("file", 255, PATH),
        entry.integer("size", 0, MAX_SMALL_FILE_BYTES),
        entry.text("sha256", 64, SHA256),
    )


def _path(value: Any, where: str, path: str) -> str:
    if not isinstance(value, str) or len(value) > 255 or not PATH.fullmatch(value):
        raise ManifestError(f"{where}: {path}: {value!r:.80} is not a path inside the bundle")
    return value
