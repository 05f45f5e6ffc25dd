"""Write a bundle: shards named by their SHA-256, small files, and the manifest last."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlr.bundle.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    Origin,
    Shard,
    SpecialToken,
    SpecialTokens,
    TokenizerEntry,
    Variant,
)
from mlr.bundle.manifest_reader import parse_manifest
from mlr.bundle.variant_reader import MAX_CHUNK_BYTES
from mlr.errors import IntegrityError, RequestError
from mlr.formats.source import ByteSource
from mlr.tokenizer import Tokenizer
from mlr_build import __version__
from mlr_build.finite import FiniteCheck
from mlr_build.plan import BundlePlan, plan_bundle, tensor_entries
from mlr_build.progress import Advance, Progress
from mlr_build.sources import OpenedSource
from mlr_build.staging import staged_directory
from mlr_build.tokenizer_json import Inexact, convert, encode

__all__ = ["DEFAULT_SHARD_SIZE", "PackageResult", "check_shard_size", "package"]

DEFAULT_SHARD_SIZE = 8 << 20
MIN_SHARD_SIZE = 1 << 16
MAX_SHARD_SIZE = 1 << 30
TASKS = {"none": "generate", "rank": "rank"}  # by the pooling
_HASHED_AHEAD = 4  # chunks that wait to enter the whole file's hash


@dataclass(frozen=True, slots=True)
class PackageResult:
    """What was written, and where."""

    path: Path
    manifest: Manifest
    size: int  # bytes of every file together
    notes: tuple[str, ...]  # what the bundle lacks, and why


def check_shard_size(shard_size: int) -> None:
    """Raise `RequestError` unless shards of this size can be made of whole chunks."""
    if not MIN_SHARD_SIZE <= shard_size <= MAX_SHARD_SIZE or shard_size % MIN_SHARD_SIZE:
        raise RequestError(
            "the shard size must be a multiple of 64 KiB between 64 KiB and 1 GiB, "
            f"got {shard_size} bytes"
        )


def package(
    opened: OpenedSource,
    out: Path,
    progress: Progress,
    *,
    name: str | None = None,
    shard_size: int = DEFAULT_SHARD_SIZE,
    force: bool = False,
) -> PackageResult:
    """Make a bundle of a model at `out`: all of it, or nothing.

    Raises what `plan_bundle` and `staged_directory` raise, `FormatError` for numbers that are not
    finite, and `IntegrityError` when the source does not have the SHA-256 that it should have.
    """
    check_shard_size(shard_size)
    plan = plan_bundle(opened, name)
    tokenizer_json, notes = _tokenizer_json(plan)
    size = opened.source.size
    small = [plan.tokenizer, tokenizer_json or b"", *plan.files.values()]
    needed = size + sum(map(len, small)) + (1 << 20)
    with staged_directory(out, force, needed) as staging:
        (staging / "shards").mkdir()
        chunk_size = math.gcd(shard_size, MAX_CHUNK_BYTES)
        with progress.step(f"Packaging {plan.name}", size) as advance:
            see = FiniteCheck(plan.gguf).see
            shards, sha256 = write_shards(
                opened.source, staging / "shards", shard_size, chunk_size, see, advance
            )
        if opened.sha256 is not None and sha256 != opened.sha256:
            raise IntegrityError(
                f"{opened.source.name}: the SHA-256 is {sha256}, but its source says "
                f"{opened.sha256}; get the file again"
            )
        manifest = _write_small_files(
            plan, opened, staging, tokenizer_json, shards, sha256, chunk_size
        )
        data = manifest.encode()
        parse_manifest(data, MANIFEST_NAME)  # what is written is held to what is read
        (staging / MANIFEST_NAME).write_bytes(data)
        total = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
    return PackageResult(out, manifest, total, notes)


def write_shards(
    source: ByteSource,
    directory: Path,
    shard_size: int,
    chunk_size: int,
    see: Callable[[int, bytes], None],
    advance: Advance,
) -> tuple[tuple[Shard, ...], str]:
    """Cut the source into shards; gives them and the SHA-256 of the whole.

    `see` gets every chunk with its offset before it is written, and may raise.
    A second thread hashes the whole file while this one hashes and writes shards and chunks.
    """
    whole = hashlib.sha256()
    waiting: deque[Future[None]] = deque()
    shards: list[Shard] = []
    with ThreadPoolExecutor(1) as pool:
        for start in range(0, source.size, shard_size):
            end = min(start + shard_size, source.size)
            digest, chunks = hashlib.sha256(), []
            incoming = directory / "incoming"
            with incoming.open("wb") as file:
                for offset in range(start, end, chunk_size):
                    data = source.read_at(offset, min(chunk_size, end - offset))
                    see(offset, data)
                    waiting.append(pool.submit(whole.update, data))
                    digest.update(data)
                    chunks.append(hashlib.sha256(data).hexdigest())
                    file.write(data)
                    advance(len(data))
                    if len(waiting) > _HASHED_AHEAD:
                        waiting.popleft().result()
            sha256 = digest.hexdigest()
            incoming.replace(directory / sha256)
            shards.append(Shard(f"shards/{sha256}", end - start, sha256, tuple(chunks)))
    return tuple(shards), whole.hexdigest()


def _write_small_files(
    plan: BundlePlan,
    opened: OpenedSource,
    staging: Path,
    tokenizer_json: bytes | None,
    shards: tuple[Shard, ...],
    sha256: str,
    chunk_size: int,
) -> Manifest:
    def write(file: str, data: bytes) -> FileEntry:
        path = staging / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return FileEntry(file, len(data), hashlib.sha256(data).hexdigest())

    packed = plan.tokenizer_format == "packed"
    tokenizer = write("tokenizer.bin" if packed else "tokenizer.json", plan.tokenizer)
    template = write("chat_template.jinja", plan.chat_template) if plan.chat_template else None
    variant = Variant(
        id=f"gguf-{plan.quantization.lower()}",
        format="gguf",
        quantization=plan.quantization,
        engines=plan.engines,
        size=opened.source.size,
        sha256=sha256,
        data_offset=plan.gguf.data_offset,
        chunk_size=chunk_size,
        shards=shards,
        config=plan.config,
        tensors=tensor_entries(plan.gguf),
    )
    return Manifest(
        name=plan.name,
        created_by=f"mlr-build {__version__}",
        task=TASKS.get(plan.config.pooling, "embed"),
        architecture=plan.config.architecture,
        parameters=plan.parameters,
        context_length=plan.config.context_length,
        license=plan.license,
        origin=Origin(opened.origin, opened.version, sha256),
        tokenizer=TokenizerEntry(
            tokenizer.file, tokenizer.size, tokenizer.sha256, plan.tokenizer_format
        ),
        chat_template=template,
        files=tuple(write(file, data) for file, data in plan.files.items()),
        variants=(variant,),
        tokenizer_json=write("tokenizer_hf.json", tokenizer_json) if tokenizer_json else None,
        special_tokens=_special_tokens(plan.reader),
        embedding=plan.embedding,
    )


def _tokenizer_json(plan: BundlePlan) -> tuple[bytes | None, tuple[str, ...]]:
    """What JavaScript needs besides packed tables, or why it does not read this tokenizer."""
    if plan.tokenizer_format == "huggingface":
        return None, ()
    try:
        return encode(convert(plan.gguf.metadata, plan.reader)), ()
    except Inexact as error:
        return None, (f"Clients in JavaScript do not read this tokenizer: {error}.",)


def _special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    def token(token_id: int | None) -> SpecialToken | None:
        return None if token_id is None else SpecialToken(token_id, tokenizer.piece(token_id))

    before, after = tokenizer.surroundings()
    return SpecialTokens(
        bos=token(tokenizer.bos_id),
        eos=token(tokenizer.eos_id),
        unk=token(tokenizer.unk_id),
        pad=token(tokenizer.pad_id),
        ends=tuple(sorted(tokenizer.end_ids)),
        before=tuple(before),
        after=tuple(after),
    )
