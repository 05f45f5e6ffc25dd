"""A transformers module as a GGUF file in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.support.convert.keys import add_keys, rope_tensors
from tests.support.convert.models import Model
from tests.support.convert.tensors import gguf_tensors
from tests.support.tiny_tokenizers import add_spm_tokenizer

__all__ = ["write_gguf"]


def write_gguf(path: Path, model: Model, module: Any) -> Path:
    """Write `module`, which `random_model` made, to `path` and return it."""
    config = module.config
    writer = gguf.GGUFWriter(path, model.architecture)
    writer.add_name(f"tiny {model.classes}")
    add_keys(writer, model.architecture, config)
    if model.pooling:
        writer.add_pooling_type(gguf.PoolingType(model.pooling))
    add_spm_tokenizer(writer, config.vocab_size, last="<|endoftext|>")
    tensors = gguf_tensors(model.architecture, config, module) | rope_tensors(config)
    for name, value in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(value, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
