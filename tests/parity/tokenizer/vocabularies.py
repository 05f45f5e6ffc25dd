"""Small vocabularies as GGUF metadata, and the cases in which llama.cpp is asked about them."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from tests.parity.tokenizer import corpus

__all__ = [
    "CASES",
    "GOLDEN",
    "TEXTS",
    "charsmap",
    "digest",
    "metadata",
    "results_file",
    "write_gguf",
]

GOLDEN = Path(__file__).parent / "golden"

# llama.cpp's tables are of a Unicode before 16.0, so the newest characters fall elsewhere.
TEXTS = {name: text for name, text in corpus.TEXTS.items() if name != "new_characters"}

_PRE = (
    *("default", "gpt-2", "llama-bpe", "dbrx", "qwen2", "qwen35", "smollm", "falcon", "tekken"),
    *("deepseek-llm", "deepseek-coder", "deepseek-v3", "gpt-4o", "seed-coder", "bailingmoe"),
    *("bloom", "viking", "glm4", "starcoder", "command-r", "stablelm2", "llama4"),
)


def charsmap() -> bytes:
    """A table of replacements that SentencePiece made from golden/charsmap.tsv."""
    return base64.b64decode((GOLDEN / "charsmap.txt").read_text())


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "spm": ("spm", {"add_space_prefix": True}),
    "spm-no-prefix": ("spm", {"add_space_prefix": False, "add_bos_token": False}),
    "spm-eos": ("spm", {"add_eos_token": True}),
    "bert": ("bert", {}),
    "t5": ("t5", {"add_space_prefix": True, "remove_extra_whitespaces": True}),
    "t5-keep-spaces": ("t5", {"add_space_prefix": True, "remove_extra_whitespaces": False}),
    "t5-no-prefix": ("t5", {"add_space_prefix": False, "remove_extra_whitespaces": False}),
    "t5-charsmap": ("t5", {"add_space_prefix": True, "precompiled_charsmap": list(charsmap())}),
    "gemma4": ("gemma4", {}),
    **{f"bpe-{pre}": ("bpe", {"pre": pre}) for pre in _PRE},
}
"""Name of the case: name of the vocabulary, and fields that are set on top of it."""


@cache
def _vocabularies() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = json.loads((GOLDEN / "vocabularies.json").read_text())
    return content


def metadata(case: str) -> dict[str, Any]:
    name, changes = CASES[case]
    fields = {**_vocabularies()[name], **changes}
    return {
        "general.architecture": "llama",
        **{f"tokenizer.ggml.{field}": value for field, value in fields.items()},
    }


def results_file() -> Path:
    return GOLDEN / "llama_cpp.json"


def digest(ids: list[int]) -> str:
    """Ten hexadecimal digits that tell lists of ids apart, to keep the golden file small."""
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:10]


def write_gguf(path: Path, fields: dict[str, Any]) -> None:
    """A GGUF file with a vocabulary and nothing else."""
    import gguf

    writer = gguf.GGUFWriter(str(path), fields["general.architecture"])
    for key, value in fields.items():
        if key == "general.architecture":
            continue
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif key.endswith("scores"):
            writer.add_key_value(
                key, [float(v) for v in value], gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.FLOAT32
            )
        elif key.endswith("precompiled_charsmap"):
            writer.add_key_value(key, bytes(value), gguf.GGUFValueType.ARRAY)
        else:
            writer.add_array(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
