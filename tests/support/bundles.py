"""Bundles of tiny models for the tests of all hosts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlr_build.cli import main as mlr_build
from tests.support.architectures import CASES
from tests.support.tiny_models import tiny_gguf

__all__ = ["package", "package_embedder", "with_files", "with_weights"]


def package(
    folder: Path, *, name: str = "tiny", shard_size: int | None = None, **model: Any
) -> Path:
    """The bundle of `tiny_gguf(**model)`, as `folder/name`."""
    source = tiny_gguf(folder / f"{name}.gguf", **model)
    command = ["package", str(source), "--out", str(folder / name), "--name", name]
    if shard_size is not None:
        command += ["--shard-size", str(shard_size)]
    assert mlr_build(command) == 0
    return folder / name


def package_embedder(folder: Path, *, context_length: int = 128) -> Path:
    """The bundle of a tiny Qwen 3 Embedding, as `folder/embedder`: a decoder with embeddings."""
    case = CASES["qwen3-embedding"]
    case = replace(case, config=replace(case.config, context_length=context_length))
    command = ["package", str(case.build(folder)), "--out", str(folder / "embedder")]
    assert mlr_build([*command, "--name", "embedder"]) == 0
    return folder / "embedder"


def with_files(bundle: Path, chat_template: str, tokenizer_json: str | None = None) -> None:
    """Give a bundle a chat template, and another tokenizer."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))

    def put(file: str, text: str) -> dict[str, Any]:
        data = text.encode("utf-8")
        (bundle / file).write_bytes(data)
        return {"file": file, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    manifest["chat_template"] = put("chat_template.jinja", chat_template)
    if tokenizer_json is not None:
        manifest["tokenizer_json"] = manifest["special_tokens"] = None
        manifest["tokenizer"] = put("tokenizer.json", tokenizer_json) | {"format": "huggingface"}
    path.write_text(json.dumps(manifest), encoding="utf-8")


def with_weights(bundle: Path, tensor: str, place: int, data: bytes) -> None:
    """Overwrite bytes of a tensor from `place` on; the hashes follow, but for the whole file's."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    (variant,) = manifest["variants"]
    (entry,) = (entry for entry in variant["tensors"] if entry["name"] == tensor)
    whole = bytearray().join((bundle / one["file"]).read_bytes() for one in variant["shards"])
    assert place + len(data) <= entry["size"]
    start = entry["offset"] + place
    whole[start : start + len(data)] = data
    end, step = 0, variant["chunk_size"]
    for shard in variant["shards"]:
        start, end = end, end + shard["size"]
        digest = hashlib.sha256(whole[start:end]).hexdigest()
        (bundle / shard["file"]).unlink()
        (bundle / "shards" / digest).write_bytes(whole[start:end])
        chunks = range(start, end, step)
        hashes = [hashlib.sha256(whole[at : min(at + step, end)]).hexdigest() for at in chunks]
        shard |= {"file": f"shards/{digest}", "sha256": digest, "chunks": hashes}
    path.write_text(json.dumps(manifest), encoding="utf-8")
