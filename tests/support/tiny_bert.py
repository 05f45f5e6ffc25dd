"""A tiny BERT in a folder as Hugging Face's libraries write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TEXTS", "tiny_bert", "tiny_cross_encoder", "write_safetensors"]

WIDTH, LAYERS, INNER, HEADS, POSITIONS = 64, 2, 96, 4, 40
WORDS = ("the", "a", "cat", "dog", "sat", "on", "mat", "##s", "##ing", "run", ",", ".", "!")
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
PIECES = dict.fromkeys([*WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)])
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES]
TEXTS = ("The cat sat on a mat.", "dogs running", "a", "", "the " * 30, "Grüße, 世界!")


def write_safetensors(
    path: Path, tensors: dict[str, tuple[str, NDArray[Any]]], **metadata: str
) -> None:
    """`tensors` have a dtype's name and an array of what its numbers are stored as."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    place = 0
    for name, (dtype, array) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [place, place + array.nbytes],
        }
        place += array.nbytes
    head = json.dumps(header).encode()
    data = b"".join(array.tobytes() for _, array in tensors.values())
    path.write_bytes(len(head).to_bytes(8, "little") + head + data)


def tiny_bert(folder: Path, *, dtype: str = "F32", pooling: str = "mean_tokens") -> Path:
    """Random weights with a fixed seed, a WordPiece vocabulary, sentence-transformers' files."""
    folder.mkdir(parents=True)
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "vocab_size": len(VOCABULARY),
    }
    _write(folder / "config.json", config)
    modules = ["Transformer", "Pooling", "Normalize"]
    _write(
        folder / "modules.json",
        [
            {"idx": i, "path": f"{i}_{name}" if i else "", "type": f"sentence_transformers.{name}"}
            for i, name in enumerate(modules)
        ],
    )
    _write(folder / "1_Pooling/config.json", {f"pooling_mode_{pooling}": True})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 24})
    _write(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": "a query , "}, "default_prompt_name": None},
    )
    _write(folder / "tokenizer.json", _tokenizer())
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A tiny model\n")
    write_safetensors(folder / "model.safetensors", _weights(dtype), format="pt")
    return folder


def tiny_cross_encoder(folder: Path, *, labels: int = 1) -> Path:
    """The same BERT with a classifier, as transformers alone writes it."""
    tiny_bert(folder)
    for name in ("modules", "1_Pooling/config", "sentence_bert_config"):
        (folder / f"{name}.json").unlink()
    (folder / "1_Pooling").rmdir()
    (folder / "config_sentence_transformers.json").unlink()
    config = json.loads((folder / "config.json").read_bytes())
    config |= {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {str(i): f"LABEL_{i}" for i in range(labels)},
        "label2id": {f"LABEL_{i}": i for i in range(labels)},
    }
    _write(folder / "config.json", config)
    _write(folder / "tokenizer_config.json", {"model_max_length": 32, **_SPECIAL})
    weights = {
        f"bert.{name}": value for name, value in _weights("F32").items() if value[0] != "I64"
    }
    draw = np.random.default_rng(8)
    for name, shape in _linear("classifier", labels, WIDTH).items():
        weights[name] = ("F32", draw.normal(0, 0.3, shape).astype("<f4"))
    write_safetensors(folder / "model.safetensors", weights, format="pt")
    return folder


_SPECIAL = {
    "tokenizer_class": "BertTokenizer",
    **{f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk", "mask")},
}


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def _tokenizer() -> dict[str, Any]:
    def special(name: str) -> dict[str, Any]:
        place = VOCABULARY.index(name)
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        return {"id": place, "content": name, "special": True, **flags}

    return {
        "version": "1.0",
        "added_tokens": [special(name) for name in VOCABULARY[:5]],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {token: index for index, token in enumerate(VOCABULARY)},
        },
    }


def _weights(dtype: str) -> dict[str, tuple[str, NDArray[Any]]]:
    draw = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        **_norm("embeddings.LayerNorm"),
        **_linear("pooler.dense", WIDTH, WIDTH),
    }
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _linear(f"{prefix}attention.{name}", WIDTH, WIDTH)
        shapes |= _norm(f"{prefix}attention.output.LayerNorm")
        shapes |= _linear(f"{prefix}intermediate.dense", INNER, WIDTH)
        shapes |= _linear(f"{prefix}output.dense", WIDTH, INNER)
        shapes |= _norm(f"{prefix}output.LayerNorm")
    weights: dict[str, tuple[str, NDArray[Any]]] = {
        "embeddings.position_ids": ("I64", np.arange(POSITIONS, dtype="<i8").reshape(1, -1))
    }
    for name, shape in shapes.items():
        values = draw.normal(0, 0.3, shape).astype("<f4")
        if "LayerNorm.weight" in name:
            values += 1
        weights[name] = (dtype, _stored(values, dtype))
    return weights


def _stored(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    if dtype == "BF16":
        return (values.view("<u4") >> 16).astype("<u2")
    return values.astype("<f2") if dtype == "F16" else values


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
