"""A model's hyperparameters as plain data: what an engine needs besides the tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from mlr.errors import FormatError, UnsupportedModelError
from mlr.formats.architectures import ARCHITECTURES, SUPPORTED_ARCHITECTURES, config_fields

__all__ = ["CHOICES", "ModelConfig"]

# Far above any model that fits wasm32; they bound what a hostile file can ask for. The kernel has
# the same (`config.h`).
MAX_LAYERS = 256
MAX_WIDTH = 1 << 20
MAX_VOCABULARY = 1 << 22
MAX_CONTEXT = 1 << 24
MAX_EXPERTS = 512
MAX_EXPERTS_USED = 32

# What the fields that name a choice may say. Engines' descriptors use the index.
CHOICES: dict[str, tuple[str, ...]] = {
    "norm": ("rms", "layer"),
    "post_norm": ("none", "branch", "sum"),
    "qk_norm": ("none", "head", "full"),
    "positions": ("rope", "learned", "alibi", "none"),
    "rope_style": ("interleaved", "half"),
    "rope_scaling": ("none", "linear", "yarn", "longrope"),
    "activation": ("silu", "gelu", "gelu_erf", "relu", "relu_squared"),
    "pooling": ("none", "mean", "cls", "last", "rank"),
}

# The least and the most that a number may be, both included.
RANGES: dict[str, tuple[float, float]] = {
    "n_layers": (1, MAX_LAYERS),
    "n_embd": (1, MAX_WIDTH),
    "n_ff": (1, MAX_WIDTH),
    "n_heads": (1, 4096),
    "n_kv_heads": (1, 4096),
    "head_dim": (2, 4096),
    "n_vocab": (1, MAX_VOCABULARY),
    "context_length": (1, MAX_CONTEXT),
    "norm_epsilon": (0.0, 1.0),
    "rope_theta": (1.0, 1e12),
    "rope_theta_local": (1.0, 1e12),
    "rope_scale": (1e-6, 1.0),
    "rope_original_context": (0, MAX_CONTEXT),
    "rope_attention_factor": (1e-3, 1e3),
    "rope_extension": (0.0, 1.0),
    "rope_beta_fast": (1e-3, 1e6),
    "rope_beta_slow": (1e-3, 1e6),
    "rope_skip": (0, MAX_LAYERS),
    "alibi_max_bias": (0.0, 1e3),
    "sliding_window": (0, MAX_CONTEXT),
    "sliding_pattern": (0, MAX_LAYERS + 1),
    "n_experts": (0, MAX_EXPERTS),
    "n_experts_used": (0, MAX_EXPERTS_USED),
    "n_ff_expert": (0, MAX_WIDTH),
    "n_ff_shared": (0, MAX_WIDTH),
    "expert_weights_scale": (1e-6, 1e6),
    "embedding_scale": (1e-6, 1e6),
    "residual_scale": (1e-6, 1e6),
    "logit_scale": (1e-6, 1e6),
    "attention_scale": (1e-6, 1e6),
    "attention_softcap": (0.0, 1e6),
    "final_softcap": (0.0, 1e6),
    "token_types": (0, 1 << 16),
}

_KINDS: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "str": str,
    "bool": bool,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The hyperparameters of a transformer: a decoder, or an encoder when `causal` is False.

    Every value is what the computation uses, whatever the file calls it: a layer computes

        x = x + residual_scale * post(attention(pre(x)))
        x = x + residual_scale * post(feed_forward(pre(x)))

    where `pre` is a norm if `pre_norm`, and `post` is one if `post_norm` is "branch"; if it is
    "sum", x becomes norm(x + branch) instead. With `parallel_residual` both branches read the
    layer's input. Biases are not mentioned here: they are added where the file has them.

    Layer i slides its attention window when `sliding_window` is set and `(i + 1) %
    sliding_pattern` is not 0 (a pattern greater than `n_layers`: all layers slide). Sliding
    layers use `rope_theta_local` and no rotary scaling; Llama 3's divisors hold for all layers.
    """

    architecture: str
    n_layers: int
    n_embd: int
    n_ff: int  # of the dense feed-forward network
    n_heads: int
    n_kv_heads: int
    head_dim: int
    n_vocab: int
    context_length: int

    norm: str = "rms"  # "layer": less the mean, and biases
    norm_epsilon: float
    pre_norm: bool = True
    post_norm: str = "none"
    parallel_residual: bool = False  # without an ffn_norm both branches share attn_norm
    qk_norm: str = "none"  # of queries and keys before rotation: of each head, or of all at once

    positions: str = "rope"
    rope_dim: int  # of each head's dimensions, how many are rotated; 0 without "rope"
    rope_style: str  # "interleaved": pairs (0,1), (2,3)…; "half": pairs (0,d/2), (1,d/2+1)…
    rope_theta: float
    rope_theta_local: float
    rope_scale: float  # positions are multiplied by this: 1/factor of linear scaling and YaRN
    rope_scaling: str = "none"  # Llama 3's is "none" and a tensor, rope_freqs
    rope_original_context: int = 0  # that the model was first trained on: for YaRN and LongRoPE
    rope_attention_factor: float = 1.0  # multiplies cosines and sines
    rope_extension: float = 1.0  # YaRN: how much of the unscaled frequencies is mixed in
    rope_beta_fast: float = 32.0  # YaRN: turns in the original context from which none is scaled
    rope_beta_slow: float = 1.0  # YaRN: turns below which all is scaled
    rope_skip: int = 0  # every n-th layer has no rotation; 0: all have
    alibi_max_bias: float = 0.0

    sliding_window: int  # 0: none
    sliding_pattern: int  # every n-th layer is global; 0: all are

    activation: str  # "gelu" is the tanh form, "gelu_erf" the exact one
    gated: bool = True  # down(activation(gate(x)) * up(x)) instead of down(activation(up(x)))
    fused_qkv: bool = False  # attn_qkv, rows q, k, v
    fused_gate_up: bool = False  # ffn_up holds the rows of gate, then those of up
    sub_norms: bool = False  # norms before attn_output and before ffn_down (BitNet)

    n_experts: int = 0  # 0: a dense feed-forward network
    n_experts_used: int = 0
    n_ff_expert: int = 0
    n_ff_shared: int = 0  # of the expert that every token uses; 0: there is none
    expert_weights_norm: bool = False  # the weights of the experts used sum to 1
    expert_weights_scale: float = 1.0

    embedding_scale: float
    residual_scale: float = 1.0
    logit_scale: float = 1.0  # logits are multiplied by it
    attention_scale: float
    attention_softcap: float = 0.0  # c: scores become c * tanh(score / c); 0: none
    final_softcap: float = 0.0  # the same of logits
    embedding_norm: bool = False  # token_embd_norm
    token_types: int = 0  # rows of token_types, of which the first is added to every embedding

    causal: bool = True
    pooling: str = "none"
    normalize_embeddings: bool = True

    def __post_init__(self) -> None:
        """Raise `UnsupportedModelError` or `FormatError` for values that cannot be computed."""
        self._check_kinds()
        self._check_ranges()
        self._check_combinations()

    def _wrong(self, field: str, problem: str) -> FormatError:
        return FormatError("model configuration", field, 0, problem)

    def _check_kinds(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kind = str(field.type)
            if isinstance(value, bool) != (kind == "bool") or not isinstance(value, _KINDS[kind]):
                raise self._wrong(field.name, f"must be {kind}, got {value!r:.60}")
            if isinstance(value, float) and not math.isfinite(value):
                raise self._wrong(field.name, f"must be finite, got {value!r}")

    def _check_ranges(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise UnsupportedModelError(
                f"architecture {self.architecture!r:.60} is not supported; supported: "
                + ", ".join(SUPPORTED_ARCHITECTURES)
            )
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise self._wrong(name, f"must be one of {', '.join(choices)}, got {value!r:.60}")
        rotary = (2, self.head_dim) if self.positions == "rope" else (0, 0)
        for name, (low, high) in {**RANGES, "rope_dim": rotary}.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise self._wrong(name, f"must be between {low} and {high}, got {value}")

    def _check_combinations(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise self._wrong("n_kv_heads", f"{self.n_kv_heads} does not divide {self.n_heads}")
        if self.head_dim % 4 or self.rope_dim % 2:
            raise self._wrong("head_dim", "must be a multiple of 4, and rope_dim even")
        if self.rope_scaling in ("yarn", "longrope") and not self.rope_original_context:
            raise self._wrong("rope_original_context", f"{self.rope_scaling} scaling needs it")
        if self.rope_scaling == "yarn" and self.rope_theta == 1.0:
            raise self._wrong("rope_theta", "must be more than 1 with YaRN")
        if (self.positions == "alibi") != (self.alibi_max_bias > 0):
            raise self._wrong("alibi_max_bias", "belongs to the positions called alibi")
        if self.n_experts:
            if not 1 <= self.n_experts_used <= self.n_experts or not self.n_ff_expert:
                raise self._wrong("n_experts_used", "must be 1 to n_experts, with an n_ff_expert")
            if not self.gated or self.fused_gate_up or self.sub_norms:
                raise self._wrong("n_experts", "experts are gated, not fused and have no sub norms")
        elif self.n_experts_used or self.n_ff_expert or self.n_ff_shared:
            raise self._wrong("n_experts", "is 0, so nothing else may say something of experts")
        if self.fused_gate_up and not self.gated:
            raise self._wrong("fused_gate_up", "there is no gate")
        allowed = ("none", "branch") if self.pre_norm else ("branch", "sum")
        if self.post_norm not in (("none",) if self.parallel_residual else allowed):
            raise self._wrong("post_norm", "does not go with pre_norm and parallel_residual")
        if not self.causal and (self.pooling in ("none", "last") or self.sliding_window):
            raise self._wrong("pooling", f"no encoder has {self.pooling!r}, or sliding windows")

    def slides(self, layer: int) -> bool:
        """Whether a layer attends only to the last `sliding_window` positions."""
        return (
            self.sliding_window > 0
            and self.sliding_pattern > 0
            and (layer + 1) % self.sliding_pattern != 0
        )

    def rotates(self, layer: int) -> bool:
        """Whether a layer rotates its queries and keys."""
        return self.positions == "rope" and (
            self.rope_skip == 0 or (layer + 1) % self.rope_skip != 0
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Check and build a configuration from a manifest's `config` object.

        A field that came later than the manifest has the value that its architecture always
        has, or its default.
        """
        architecture = ARCHITECTURES.get(str(data.get("architecture")))
        traits = architecture.traits if architecture else {}
        names = {field.name for field in fields(cls)}
        late = {field.name for field in fields(cls) if field.default is not MISSING}
        missing, unknown = names - late - data.keys(), data.keys() - names
        if missing or unknown:
            raise FormatError(
                "model configuration",
                ", ".join(sorted(missing or unknown)[:3]),
                0,
                "is missing" if missing else "is not a known field",
            )
        return cls(**{name: traits[name] for name in late & traits.keys()} | dict(data))

    @classmethod
    def from_gguf(
        cls, metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], file: str = "GGUF"
    ) -> ModelConfig:
        """Read the hyperparameters from GGUF metadata.

        `shapes` maps tensor names to shapes as rows by columns (GGUF's own order reversed).
        Raises `UnsupportedModelError` for an architecture or a variant of it that cannot be
        computed and `FormatError` for a key that is missing or of the wrong type.
        """
        return cls(**config_fields(metadata, shapes, file))
