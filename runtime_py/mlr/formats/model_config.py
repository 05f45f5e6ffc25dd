"""A decoder's hyperparameters as plain data: what an engine needs besides the tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from mlr.errors import FormatError, UnsupportedModelError

__all__ = [
    "SUPPORTED_ARCHITECTURES",
    "ExpectedTensor",
    "ModelConfig",
    "expected_tensors",
]

SUPPORTED_ARCHITECTURES = ("gemma3", "llama", "qwen2", "qwen3")

# Far above any model that fits wasm32; they bound what a hostile file can ask for.
MAX_LAYERS = 512
MAX_WIDTH = 1 << 20
MAX_VOCABULARY = 1 << 22
MAX_CONTEXT = 1 << 24


@dataclass(frozen=True, slots=True)
class ExpectedTensor:
    """A tensor by its GGUF name; `shape` is (rows, columns), or (length,) for a vector."""

    name: str
    shape: tuple[int, ...]
    required: bool = True


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The hyperparameters of a decoder of the Llama or Gemma 3 family.

    Layer i slides its attention window when `sliding_window` is set and `(i + 1) %
    sliding_pattern` is not 0; sliding layers use `rope_theta_local` and no `rope_scale`.
    """

    architecture: str
    n_layers: int
    n_embd: int
    n_ff: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    n_vocab: int
    context_length: int
    norm_epsilon: float
    rope_theta: float
    rope_theta_local: float
    rope_dim: int
    rope_style: str  # "interleaved": pairs (0,1), (2,3)…; "half": pairs (0,d/2), (1,d/2+1)…
    rope_scale: float  # positions are multiplied by this (1/factor of linear scaling)
    sliding_window: int  # 0: none
    sliding_pattern: int  # every n-th layer is global; 0: all are
    activation: str  # "silu" or "gelu" (the tanh form)
    embedding_scale: float
    attention_scale: float

    def __post_init__(self) -> None:
        """Raise `UnsupportedModelError` or `FormatError` for values that cannot be computed."""
        self._check_kinds()
        self._check_ranges()

    def _wrong(self, field: str, problem: str) -> FormatError:
        return FormatError("model configuration", field, 0, problem)

    def _check_kinds(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kind = {"int": int, "float": (int, float), "str": str}[str(field.type)]
            if isinstance(value, bool) or not isinstance(value, kind):  # type: ignore[arg-type]
                raise self._wrong(field.name, f"must be {field.type}, got {value!r:.60}")
            if isinstance(value, float) and not math.isfinite(value):
                raise self._wrong(field.name, f"must be finite, got {value!r}")

    def _check_ranges(self) -> None:
        if self.architecture not in SUPPORTED_ARCHITECTURES:
            raise UnsupportedModelError(
                f"architecture {self.architecture!r:.60} is not supported; supported: "
                + ", ".join(SUPPORTED_ARCHITECTURES)
            )
        for name, low, high in (
            ("n_layers", 1, MAX_LAYERS),
            ("n_embd", 1, MAX_WIDTH),
            ("n_ff", 1, MAX_WIDTH),
            ("n_heads", 1, 4096),
            ("n_kv_heads", 1, 4096),
            ("head_dim", 2, 4096),
            ("n_vocab", 1, MAX_VOCABULARY),
            ("context_length", 1, MAX_CONTEXT),
            ("norm_epsilon", 0.0, 1.0),
            ("rope_theta", 1.0, 1e12),
            ("rope_theta_local", 1.0, 1e12),
            ("rope_dim", 2, self.head_dim),
            ("rope_scale", 1e-6, 1.0),
            ("sliding_window", 0, MAX_CONTEXT),
            ("sliding_pattern", 0, MAX_LAYERS),
            ("embedding_scale", 1e-6, 1e6),
            ("attention_scale", 1e-6, 1e6),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise self._wrong(name, f"must be between {low} and {high}, got {value}")
        if self.n_heads % self.n_kv_heads:
            raise self._wrong("n_kv_heads", f"{self.n_kv_heads} does not divide {self.n_heads}")
        if self.head_dim % 4 or self.rope_dim % 2:
            raise self._wrong("head_dim", "must be a multiple of 4, and rope_dim even")
        if self.rope_style not in ("interleaved", "half"):
            raise self._wrong("rope_style", f"must be interleaved or half, got {self.rope_style!r}")
        if self.activation not in ("silu", "gelu"):
            raise self._wrong("activation", f"must be silu or gelu, got {self.activation!r}")

    def slides(self, layer: int) -> bool:
        """Whether a layer attends only to the last `sliding_window` positions."""
        return (
            self.sliding_window > 0
            and self.sliding_pattern > 0
            and (layer + 1) % self.sliding_pattern != 0
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Check and build a configuration from a manifest's `config` object."""
        names = {field.name for field in fields(cls)}
        missing, unknown = names - data.keys(), data.keys() - names
        if missing or unknown:
            raise FormatError(
                "model configuration",
                ", ".join(sorted(missing or unknown)[:3]),
                0,
                "is missing" if missing else "is not a known field",
            )
        return cls(**data)

    @classmethod
    def from_gguf(
        cls, metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], file: str = "GGUF"
    ) -> ModelConfig:
        """Read the hyperparameters from GGUF metadata.

        `shapes` maps tensor names to shapes as rows by columns (GGUF's own order reversed).
        Keys are those of the GGUF specification (`{architecture}.block_count`, …). Raises
        `UnsupportedModelError` for an architecture or rotary scaling that cannot be computed
        and `FormatError` for a key that is missing or of the wrong type.
        """
        arch = metadata.get("general.architecture")
        if not isinstance(arch, str):
            raise FormatError(file, "general.architecture", 0, "is missing or not a string")
        if arch not in SUPPORTED_ARCHITECTURES:
            raise UnsupportedModelError(
                f"{file}: architecture {arch!r:.60} is not supported; supported: "
                + ", ".join(SUPPORTED_ARCHITECTURES)
            )
        read = _Reader(metadata, arch, file)
        n_embd, n_heads = read.integer("embedding_length"), read.integer("attention.head_count")
        if n_embd < 1 or n_heads < 1:
            raise FormatError(file, f"{arch}.attention.head_count", 0, "must be at least 1")
        head_dim = read.integer("attention.key_length", n_embd // n_heads)
        if read.integer("attention.value_length", head_dim) != head_dim:
            raise UnsupportedModelError(
                f"{file}: {arch}.attention.value_length differs from key_length, "
                "which is not supported"
            )
        embedding = shapes.get("token_embd.weight")
        if embedding is None or len(embedding) != 2:
            raise FormatError(file, "token_embd.weight", 0, "is missing or not a matrix")
        if read.integer("expert_count", 0) > 0:
            raise UnsupportedModelError(f"{file}: mixture-of-experts models are not supported")
        gemma, n_layers = arch == "gemma3", read.integer("block_count")
        scaling = read.string("rope.scaling.type", "none")
        if scaling not in ("none", "linear"):
            raise UnsupportedModelError(
                f"{file}: rotary scaling {scaling!r:.40} is not supported; supported: none, "
                "linear, and Llama 3's rope_freqs tensor"
            )
        factor = read.number("rope.scaling.factor", 1.0) if scaling == "linear" else 1.0
        theta = read.number("rope.freq_base", 10000.0)
        window = read.integer("attention.sliding_window", 0) if gemma else 0
        # Gemma 3 27B (62 layers) alone scales queries by the width of a head's share of n_embd.
        scale_width = n_embd // n_heads if gemma and n_layers == 62 else head_dim
        return cls(
            architecture=arch,
            n_layers=n_layers,
            n_embd=n_embd,
            n_ff=read.integer("feed_forward_length"),
            n_heads=n_heads,
            n_kv_heads=read.integer("attention.head_count_kv", n_heads),
            head_dim=head_dim,
            n_vocab=embedding[0],
            context_length=read.integer("context_length"),
            norm_epsilon=read.number("attention.layer_norm_rms_epsilon"),
            rope_theta=theta,
            rope_theta_local=10000.0 if gemma else theta,
            rope_dim=read.integer("rope.dimension_count", head_dim),
            rope_style="interleaved" if arch == "llama" else "half",
            rope_scale=1.0 / factor if factor > 0 else 0.0,
            sliding_window=window,
            sliding_pattern=6 if window else 0,
            activation="gelu" if gemma else "silu",
            embedding_scale=math.sqrt(n_embd) if gemma else 1.0,
            attention_scale=1.0 / math.sqrt(max(scale_width, 1)),
        )


class _Reader:
    """Typed access to the `{architecture}.*` keys of GGUF metadata."""

    def __init__(self, metadata: Mapping[str, Any], arch: str, file: str) -> None:
        self._metadata, self._arch, self._file = metadata, arch, file

    def _get(self, key: str, default: Any, kinds: tuple[type, ...]) -> Any:
        full = f"{self._arch}.{key}"
        value = self._metadata.get(full, default)
        if value is None:
            raise FormatError(self._file, full, 0, "is missing")
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise FormatError(self._file, full, 0, f"has an unexpected type: {value!r:.60}")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        return int(self._get(key, default, (int,)))

    def number(self, key: str, default: float | None = None) -> float:
        return float(self._get(key, default, (int, float)))

    def string(self, key: str, default: str) -> str:
        return str(self._get(key, default, (str,)))


def expected_tensors(config: ModelConfig) -> list[ExpectedTensor]:
    """Every tensor that an engine computes with, by GGUF name, with its shape.

    Tensors that a file has besides these are refused when a bundle is made: leaving one out
    of the computation would give wrong text without a word.
    """
    c = config
    q_rows, kv_rows = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    gemma, qk_norm = c.architecture == "gemma3", c.architecture in ("gemma3", "qwen3")
    tensors = [
        ExpectedTensor("token_embd.weight", (c.n_vocab, c.n_embd)),
        ExpectedTensor("output_norm.weight", (c.n_embd,)),
        ExpectedTensor("output.weight", (c.n_vocab, c.n_embd), required=False),
        ExpectedTensor("rope_freqs.weight", (c.rope_dim // 2,), required=False),
    ]
    for i in range(c.n_layers):
        prefix = f"blk.{i}."
        layer: list[tuple[str, tuple[int, ...], bool]] = [
            ("attn_norm.weight", (c.n_embd,), True),
            ("attn_q.weight", (q_rows, c.n_embd), True),
            ("attn_k.weight", (kv_rows, c.n_embd), True),
            ("attn_v.weight", (kv_rows, c.n_embd), True),
            ("attn_output.weight", (c.n_embd, q_rows), True),
            ("ffn_norm.weight", (c.n_embd,), True),
            ("ffn_gate.weight", (c.n_ff, c.n_embd), True),
            ("ffn_up.weight", (c.n_ff, c.n_embd), True),
            ("ffn_down.weight", (c.n_embd, c.n_ff), True),
        ]
        if qk_norm:
            layer += [
                ("attn_q_norm.weight", (c.head_dim,), True),
                ("attn_k_norm.weight", (c.head_dim,), True),
            ]
        if gemma:
            layer += [
                ("post_attention_norm.weight", (c.n_embd,), True),
                ("post_ffw_norm.weight", (c.n_embd,), True),
            ]
        if c.architecture in ("llama", "qwen2"):
            required = c.architecture == "qwen2"
            layer += [
                ("attn_q.bias", (q_rows,), required),
                ("attn_k.bias", (kv_rows,), required),
                ("attn_v.bias", (kv_rows,), required),
            ]
        tensors += [ExpectedTensor(prefix + name, shape, req) for name, shape, req in layer]
    return tensors
