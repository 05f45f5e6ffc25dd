"""Each weight type's dot product in the kernel against exact arithmetic in float64.

A model whose layer adds nothing: a token's embedding is normalized and multiplied by the output
matrix, which alone has the type under test. The embeddings are integers with 127 in each block, so
that rounding them to 8 bits leaves them as they are, whatever the normalization's last bit is.

The kernel multiplies one token, a few and many in different ways: passes of every size must give
the same bits, in each build.

What remains is float32: a scale and a product for each block, their sums in order, and the norm.
That is a few roundings of 2^-24 for each block, relative to the sum of the magnitudes; 16 of them
are allowed, of all blocks together. Integer sums are exact, so the largest weights and activations
are as good as any, which is what the last rows and tokens are for: there a sum of too few bits
would show.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from mlr.engines.base import Step
from mlr.engines.kernel.engine import KernelEngine
from mlr.engines.reference.activations import quantize_activations
from mlr.engines.reference.dequantize import dequantize
from tests.support.kernels import open_kernel
from tests.support.weights import BLOCK, SCALES, random_matrix

COLUMNS = 1280  # not whole panels of 1024
ROWS = 67  # an odd number of tiles, the last one not full
TOKENS = 64
PASSES = (1, 2, 3, 4, 5, 6, 7, 8, 9, TOKENS)
EPSILON = 1e-6
FILLS = (0x00, 0xFF, 0x88)  # what fills the last rows: the extremes of every packed field


def embeddings(rng: np.random.Generator) -> NDArray[np.float32]:
    """(ROWS, COLUMNS) integers of which the first TOKENS rows are used."""
    x = rng.integers(-127, 128, (ROWS, COLUMNS)).astype(np.float32)
    x[:, ::32] = 127
    x[0], x[1] = 127, -127
    x[2] = np.where(np.arange(COLUMNS) % 2, 127, -127)
    return x


def weights(rng: np.random.Generator, type_name: str) -> NDArray[np.uint8]:
    """Rows of random blocks; in the last ones everything but the scales is filled with a byte."""
    data = random_matrix(rng, type_name, ROWS, COLUMNS, COLUMNS**-0.5)
    if type_name not in ("F32", "F16", "BF16"):
        blocks = data.reshape(ROWS, -1, BLOCK[type_name][1])
        scales = [at + i for at in SCALES.get(type_name, []) for i in (0, 1)] or [0]
        others = np.setdiff1d(np.arange(blocks.shape[2]), scales)
        for row, fill in enumerate(FILLS, ROWS - len(FILLS)):
            blocks[row][:, others] = fill
    return data


def write_model(path: Path, x: NDArray[np.float32], data: NDArray[np.uint8], kind: str) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(COLUMNS)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_key_length(32)
    writer.add_value_length(32)
    writer.add_rope_dimension_count(32)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_tensor("token_embd.weight", x)
    writer.add_tensor("output_norm.weight", np.ones(COLUMNS, np.float32))
    writer.add_tensor("output.weight", data, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(COLUMNS, np.float32))
    writer.add_tensor("blk.0.ffn_norm.weight", np.ones(COLUMNS, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((32, COLUMNS), np.float32))
    for name in ("attn_output", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((COLUMNS, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits_of_pass(engine: KernelEngine, n: int) -> NDArray[np.float32]:
    """The logits after each of the first `n` tokens, evaluated in one pass, (n, ROWS)."""
    engine.truncate(0)
    engine.evaluate_batch([Step(0, range(n), "all")])
    return np.array([engine.logits(row) for row in range(n)], np.float32)


@pytest.mark.parametrize("type_name", BLOCK)
def test_dot_products(type_name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    x, data = embeddings(rng), weights(rng, type_name)
    write_model(tmp_path / "model.gguf", x, data, type_name)
    exact = x[:TOKENS].astype(np.float64)
    exact /= np.sqrt((exact**2).mean(axis=1, keepdims=True) + EPSILON)
    rounded = quantize_activations(exact.astype(np.float32), type_name).astype(np.float64)
    w = dequantize(type_name, data.tobytes(), (ROWS, COLUMNS), "float64")
    expected, magnitude = rounded @ w.T, np.abs(rounded) @ np.abs(w).T

    passes = []
    for build in ("relaxed", "narrow", "simd", "relaxed64"):
        path = tmp_path / "model.gguf"
        with open_kernel(path, context_length=64, sequences=TOKENS, build=build) as engine:
            passes += [logits_of_pass(engine, n) for n in PASSES]
    whole = passes[-1]
    for logits in passes:
        assert logits.tobytes() == whole[: len(logits)].tobytes(), f"a pass of {len(logits)}"
    error = np.abs(whole - expected) / np.maximum(magnitude, 1e-30)
    assert error.max() < 16 * 2.0**-24
    assert np.abs(expected[:, :-3]).mean() > 0.1, "the products are not all small"
