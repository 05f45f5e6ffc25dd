"""The forward pass of a transformer: embeddings, layers, head, pooling. Read this first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlr.engines.reference.attention import Cache, attention
from mlr.engines.reference.feed_forward import feed_forward
from mlr.engines.reference.operations import Array, Weights, softcap
from mlr.engines.reference.positions import rotate, rotation
from mlr.formats.model_config import ModelConfig

__all__ = ["Transformer"]


class Transformer:
    """A configuration and its weights, and what is computed with them.

    It keeps no state between calls. `context_length` is how long sequences may become.
    """

    def __init__(self, config: ModelConfig, weights: Weights, context_length: int) -> None:
        self._config, self._weights = config, weights
        self._context_length = context_length
        self.dtype = weights.dtype

    def hidden(self, tokens: Sequence[int], cache: Cache, second_text: int | None = None) -> Array:
        """Evaluate `tokens` after those in `cache` and append them to it.

        Tokens from index `second_text` on are of an encoder's second type. Returns the hidden
        states after the last norm, (tokens, n_embd).
        """
        c, w = self._config, self._weights
        positions = np.arange(cache.position, cache.position + len(tokens))
        x: Array = w["token_embd.weight"][list(tokens)] * self.dtype.type(c.embedding_scale)
        if c.token_types:
            place = len(tokens) if second_text is None or c.token_types < 2 else second_text
            x = x + w["token_types.weight"][[0] * place + [1] * (len(tokens) - place)]
        if c.positions == "learned":
            x = x + w["position_embd.weight"][positions]
        if c.embedding_norm:
            x = w.norm(x, "token_embd_norm")

        def attend(layer: int, x: Array) -> Array:
            return attention(c, w, layer, x, positions, cache, self._context_length)

        for layer in range(c.n_layers):
            prefix = f"blk.{layer}."
            if c.parallel_residual:
                shared = w.norm(x, prefix + "attn_norm")
                first = prefix + "attn_norm_2"
                second = prefix + "ffn_norm"
                to_attend = w.norm(x, first) if first + ".weight" in w else shared
                to_feed = w.norm(x, second) if second + ".weight" in w else shared
                branches = attend(layer, to_attend) + feed_forward(c, w, layer, to_feed)
                x = x + branches * self.dtype.type(c.residual_scale)
                continue
            branch = attend(layer, self._before(x, prefix + "attn_norm"))
            x = self._after(x, branch, prefix, "post_attention_norm", "attn_output_norm")
            branch = feed_forward(c, w, layer, self._before(x, prefix + "ffn_norm"))
            x = self._after(x, branch, prefix, "post_ffw_norm", "layer_output_norm")
        cache.position += len(tokens)
        return x if c.post_norm == "sum" else w.norm(x, "output_norm")

    def _before(self, x: Array, name: str) -> Array:
        """What a branch reads of the residual stream x."""
        return self._weights.norm(x, name) if self._config.pre_norm else x

    def _after(self, x: Array, branch: Array, prefix: str, of_branch: str, of_sum: str) -> Array:
        """The residual stream x with a branch's output added to it."""
        c, w = self._config, self._weights
        if c.post_norm == "branch":
            branch = w.norm(branch, prefix + of_branch)
        x = x + branch * self.dtype.type(c.residual_scale)
        return w.norm(x, prefix + of_sum) if c.post_norm == "sum" else x

    def logits(self, hidden: Array) -> Array:
        """The head: hidden states (…, n_embd) to logits (…, n_vocab)."""
        c, tied = self._config, "output.weight" not in self._weights
        logits = self._weights.linear(hidden, "token_embd" if tied else "output")
        return softcap(logits * self.dtype.type(c.logit_scale), c.final_softcap)

    def turned(self, layer: int, keys: Array, distance: int) -> Array:
        """Keys (tokens, n_kv_heads, head_dim) as they would be `distance` positions later."""
        c, w = self._config, self._weights
        if not c.rotates(layer):
            return keys.copy()
        cos, sin = rotation(c, w, layer, np.array([distance]), self._context_length)
        return rotate(c, keys.astype(self.dtype), cos, sin)

    def pooled(self, hidden: Array) -> Array:
        """One vector for a whole text: its hidden states (tokens, n_embd) to (n_embd,).

        With the pooling "rank" it has one number, how well the two texts in one go together.
        """
        c, w = self._config, self._weights
        vector: Array
        if c.pooling == "mean":
            vector = hidden.mean(axis=0)
        else:  # a decoder's first token has seen nothing: it ranks by the last
            last = c.pooling == "last" or (c.pooling == "rank" and c.causal)
            vector = hidden[-1 if last else 0]
        if c.pooling == "rank":
            if "cls.weight" in w:
                vector = np.tanh(w.linear(vector, "cls"))
            return w.linear(vector, "cls.output").reshape(1)
        if not c.normalize_embeddings:
            return vector
        length = np.sqrt((vector * vector).sum())
        unit: Array = vector / np.maximum(length, self.dtype.type(1e-12))
        return unit
