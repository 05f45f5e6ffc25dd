"""What a bundle takes in an edge worker, and whether it fits.

The kernel says itself what it takes; what the JavaScript around it takes was measured.
`JSON_FACTOR` is for a tokenizer.json, which is read as objects, from V8's heap after a collection,
with Gemma's (8.7 MB: 10.6 bytes a byte while it is read, 9.6 later) and MiniLM's (0.5 MB: 10.6 and
7.6). `PACKED_FACTOR` is for packed tables, which are used where they lie: Gemma's (4.0 MB) take
4.4, and for a moment the pieces that they come in besides.
`SCRIPT_MEMORY` is by how much workerd's resident memory grew with a first answer, less kernel and
tokenizer: 14 to 18 MB with a model of 1 MB, 27 to 29 MB with one of 25 MB, much of it waiting to be
collected.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlr.bundle.manifest import FileEntry, Manifest, Variant
from mlr.engines.context import choose_context
from mlr.engines.kernel.abi import PAGE
from mlr.engines.kernel.descriptor import build_descriptor
from mlr.engines.kernel.instance import KernelOptions
from mlr.engines.kernel.wasmtime import plan
from mlr.errors import CapacityError
from mlr_build.progress import human_bytes

__all__ = [
    "MAX_ASSET",
    "MAX_SCRIPT_FREE",
    "MAX_SCRIPT_PAID",
    "MEMORY_LIMIT",
    "WorkerMemory",
    "check_assets",
    "check_memory",
    "predict_memory",
    "tokenizer_files",
]

MEMORY_LIMIT = 128_000_000  # bytes of an isolate: JavaScript's heap and WebAssembly's memory
MAX_SCRIPT_FREE = 3_000_000  # bytes of script and modules, compressed
MAX_SCRIPT_PAID = 10_000_000
MAX_ASSET = 25 * 2**20  # bytes of a file
MAX_ASSETS = 20_000

SCRIPT_MEMORY = 32_000_000  # bytes: script, compiled kernel, planning, chunks under way
JSON_FACTOR = 11  # bytes of memory for a byte of tokenizer.json, while it is being read
PACKED_FACTOR = 2  # bytes of memory for a byte of a packed tokenizer
SMALLEST_CONTEXT = 256  # the least that is worth suggesting
BUILD = "relaxed"  # of the kernel; workerd has relaxed SIMD


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """Predicted bytes. `kernel` is exact: the pages of its memory, the three before it included."""

    context_length: int
    weights: int
    kv_cache: int
    scratch: int
    kernel: int
    tokenizer: int
    script: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.kernel + self.tokenizer + self.script


def tokenizer_files(manifest: Manifest) -> tuple[FileEntry, ...]:
    """What JavaScript reads of the tokenizer; nothing where it is of a kind that it cannot read."""
    if manifest.tokenizer.format == "huggingface":
        return (manifest.tokenizer,)
    if manifest.tokenizer.format == "packed" and manifest.tokenizer_json is not None:
        return (manifest.tokenizer, manifest.tokenizer_json)
    return ()


def predict_memory(
    manifest: Manifest, variant: Variant, context_length: int | None
) -> WorkerMemory:
    """What a worker takes with a context of so many tokens (default: the model's, at most 4096).

    Raises `RequestError` for a context that the model does not have, `LoadError` for a model that
    the kernel does not take.
    """
    context = choose_context(variant.config, context_length)
    descriptor = build_descriptor(variant.config, variant.tensors)
    planned = plan(descriptor, KernelOptions(context, threads=1), BUILD)
    return WorkerMemory(
        context_length=context,
        weights=planned.memory.weights,
        kv_cache=planned.memory.kv_cache,
        scratch=planned.memory.scratch,
        kernel=-(-planned.total_bytes // PAGE) * PAGE,
        tokenizer=_tokenizer_memory(manifest),
        script=SCRIPT_MEMORY,
    )


def _tokenizer_memory(manifest: Manifest) -> int:
    """Bytes."""
    packed = manifest.tokenizer if manifest.tokenizer.format == "packed" else None
    return sum(
        entry.size * (PACKED_FACTOR if entry is packed else JSON_FACTOR)
        for entry in tokenizer_files(manifest)
    )


def check_memory(manifest: Manifest, variant: Variant, memory: WorkerMemory) -> None:
    """Raise `CapacityError`, with what would fit, for more than an edge worker has."""
    over = memory.total - MEMORY_LIMIT
    if over <= 0:
        return
    needs = (
        f"{manifest.name} needs {human_bytes(memory.total)} in an edge worker (weights "
        f"{human_bytes(memory.weights)}, KV cache {human_bytes(memory.kv_cache)} for "
        f"{memory.context_length} tokens, scratch {human_bytes(memory.scratch)}, tokenizer "
        f"{human_bytes(memory.tokenizer)}, JavaScript {human_bytes(memory.script)}), "
        f"{human_bytes(over)} more than the {human_bytes(MEMORY_LIMIT)} that there are"
    )
    context = memory.context_length // 2
    while context >= SMALLEST_CONTEXT:
        smaller = predict_memory(manifest, variant, context)
        if smaller.total <= MEMORY_LIMIT:
            raise CapacityError(
                f"{needs}; a context of {context} tokens would fit "
                f"({human_bytes(smaller.total)}): use --context-length {context}"
            )
        context //= 2
    raise CapacityError(
        f"{needs}; no context length makes it fit: use a smaller quantization or a smaller model, "
        "or a host with more memory (Deno, Node.js, mlr serve)"
    )


def check_assets(sizes: dict[str, int]) -> None:
    """Raise `CapacityError` for assets (bytes by file) that the limits do not allow."""
    name, size = max(sizes.items(), key=lambda item: item[1])
    if size > MAX_ASSET:
        raise CapacityError(
            f"{name} has {human_bytes(size)}, and an asset may have {human_bytes(MAX_ASSET)}: "
            "package the model with smaller shards (--shard-size 8MiB), or keep the weights in a "
            "bucket (--weights r2)"
        )
    if len(sizes) > MAX_ASSETS:
        raise CapacityError(
            f"there would be {len(sizes):,} assets, and {MAX_ASSETS:,} are allowed: package the "
            "model with larger shards, or keep the weights in a bucket (--weights r2)"
        )
