"""Which tensors a model is made of, derived from its hyperparameters alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlr.formats.model_config import ModelConfig

__all__ = ["NOT_FINITE", "ExpectedTensor", "expected_tensors"]

# What is wrong with a vector that engines refuse.
NOT_FINITE = (
    "holds infinite numbers or NaN, of which nothing but nonsense comes: the model is damaged, "
    "get it anew"
)


@dataclass(frozen=True, slots=True)
class ExpectedTensor:
    """A tensor by its GGUF name.

    `shape` is (rows, columns), (experts, rows, columns), or (length,) for a vector.
    """

    name: str
    shape: tuple[int, ...]
    required: bool = True

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of `shape` is as expected.

        Some converters leave a row of a matrix a matrix of one row, so leading ones count for
        nothing.
        """
        extra = len(shape) - len(self.shape)
        return (1,) * extra + self.shape == tuple(shape)


def expected_tensors(config: ModelConfig) -> list[ExpectedTensor]:
    """Every tensor that an engine computes with, by GGUF name, with its shape.

    Tensors that a file has besides these are refused when a bundle is made: leaving one out
    of the computation would give wrong text without a word.
    """
    tensors = _shared(config)
    for i in range(config.n_layers):
        layer = [*_norms(config), *_attention(config), *_feed_forward(config)]
        tensors += [ExpectedTensor(f"blk.{i}.{t.name}", t.shape, t.required) for t in layer]
    return tensors


def _linear(name: str, rows: int, columns: int) -> list[ExpectedTensor]:
    """A matrix, its bias, and the factor that the files of ternary models have beside it."""
    return [
        ExpectedTensor(name + ".weight", (rows, columns)),
        ExpectedTensor(name + ".bias", (rows,), required=False),
        ExpectedTensor(name + ".scale", (1,), required=False),
    ]


def _norm(
    c: ModelConfig, name: str, length: int | None = None, *, required: bool = True
) -> list[ExpectedTensor]:
    shape = (c.n_embd if length is None else length,)
    tensors = [ExpectedTensor(name + ".weight", shape, required)]
    if c.norm == "layer":
        tensors.append(ExpectedTensor(name + ".bias", shape, required=False))
    return tensors


def _shared(c: ModelConfig) -> list[ExpectedTensor]:
    tensors = [ExpectedTensor("token_embd.weight", (c.n_vocab, c.n_embd))]
    if c.positions == "learned":
        tensors.append(ExpectedTensor("position_embd.weight", (c.context_length, c.n_embd)))
    if c.token_types:
        tensors.append(ExpectedTensor("token_types.weight", (c.token_types, c.n_embd)))
    if c.embedding_norm:
        tensors += _norm(c, "token_embd_norm")
    if c.post_norm != "sum":
        tensors += _norm(c, "output_norm")
    if c.causal:
        tensors += [
            ExpectedTensor("output.weight", (c.n_vocab, c.n_embd), required=False),
            ExpectedTensor("output.bias", (c.n_vocab,), required=False),
        ]
    if c.pooling == "rank":
        tensors += [
            ExpectedTensor("cls.weight", (c.n_embd, c.n_embd), required=False),
            ExpectedTensor("cls.bias", (c.n_embd,), required=False),
            ExpectedTensor("cls.output.weight", (c.n_embd,)),
            ExpectedTensor("cls.output.bias", (1,), required=False),
        ]
    if c.rope_scaling == "longrope":
        tensors += [
            ExpectedTensor("rope_factors_long.weight", (c.rope_dim // 2,)),
            ExpectedTensor("rope_factors_short.weight", (c.rope_dim // 2,)),
        ]
    elif c.positions == "rope":
        tensors.append(ExpectedTensor("rope_freqs.weight", (c.rope_dim // 2,), required=False))
    return tensors


def _norms(c: ModelConfig) -> list[ExpectedTensor]:
    """Those before and after the branches of a layer."""
    tensors = []
    if c.pre_norm:
        tensors += _norm(c, "attn_norm")
        tensors += _norm(c, "ffn_norm", required=not c.parallel_residual)
    if c.parallel_residual:
        # Where there is one, attention reads it, and attn_norm is the other branch's.
        tensors += _norm(c, "attn_norm_2", required=False)
    if c.post_norm == "branch":
        tensors += [*_norm(c, "post_attention_norm"), *_norm(c, "post_ffw_norm")]
    if c.post_norm == "sum":
        tensors += [*_norm(c, "attn_output_norm"), *_norm(c, "layer_output_norm")]
    if c.sub_norms:
        tensors += _norm(c, "attn_sub_norm", c.n_heads * c.head_dim)
        tensors += _norm(c, "ffn_sub_norm", c.n_ff)
    return tensors


def _attention(c: ModelConfig) -> list[ExpectedTensor]:
    q_rows, kv_rows = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    if c.fused_qkv:
        tensors = _linear("attn_qkv", q_rows + 2 * kv_rows, c.n_embd)
    else:
        tensors = [
            *_linear("attn_q", q_rows, c.n_embd),
            *_linear("attn_k", kv_rows, c.n_embd),
            *_linear("attn_v", kv_rows, c.n_embd),
        ]
    if c.qk_norm != "none":
        whole = c.qk_norm == "full"
        tensors += _norm(c, "attn_q_norm", q_rows if whole else c.head_dim)
        tensors += _norm(c, "attn_k_norm", kv_rows if whole else c.head_dim)
    return tensors + _linear("attn_output", c.n_embd, q_rows)


def _feed_forward(c: ModelConfig) -> list[ExpectedTensor]:
    if c.n_experts:
        return [*_experts(c), *_shared_expert(c)]
    up_rows = 2 * c.n_ff if c.fused_gate_up else c.n_ff
    tensors = [*_linear("ffn_up", up_rows, c.n_embd), *_linear("ffn_down", c.n_embd, c.n_ff)]
    if c.gated and not c.fused_gate_up:
        tensors += _linear("ffn_gate", c.n_ff, c.n_embd)
    return tensors


def _experts(c: ModelConfig) -> list[ExpectedTensor]:
    up, down = (c.n_experts, c.n_ff_expert, c.n_embd), (c.n_experts, c.n_embd, c.n_ff_expert)
    return [
        ExpectedTensor("ffn_gate_inp.weight", (c.n_experts, c.n_embd)),
        ExpectedTensor("ffn_gate_exps.weight", up),
        ExpectedTensor("ffn_up_exps.weight", up),
        ExpectedTensor("ffn_down_exps.weight", down),
    ]


def _shared_expert(c: ModelConfig) -> list[ExpectedTensor]:
    if not c.n_ff_shared:
        return []
    return [
        # How much of it is added: a sigmoid of this product; without it, all.
        ExpectedTensor("ffn_gate_inp_shexp.weight", (c.n_embd,), required=False),
        ExpectedTensor("ffn_gate_shexp.weight", (c.n_ff_shared, c.n_embd)),
        ExpectedTensor("ffn_up_shexp.weight", (c.n_ff_shared, c.n_embd)),
        ExpectedTensor("ffn_down_shexp.weight", (c.n_embd, c.n_ff_shared)),
    ]
