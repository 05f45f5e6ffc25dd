"""Tell which format a model file has: by its content first, by its name second."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from mlr.errors import UnsupportedModelError
from mlr.formats.source import ByteSource

__all__ = ["PACKAGEABLE", "Detected", "detect", "require_packageable"]

PACKAGEABLE = "GGUF, or a folder with safetensors and config.json"
_HEAD_BYTES = 1 << 16
_SAFETENSORS_MAX_HEADER = 100_000_000  # the format's own limit


@dataclass(frozen=True, slots=True)
class Detected:
    """A format's identifier, how people call it, and what gave it away."""

    id: str
    title: str
    by: str  # "content" or "name"


_TITLES = {
    "gguf": "GGUF",
    "ggml": "a GGML file from before GGUF",
    "safetensors": "safetensors",
    "onnx": "ONNX",
    "pytorch": "a PyTorch checkpoint",
    "torchscript": "TorchScript",
    "pickle": "a Python pickle",
    "tfjs": "a TensorFlow.js model",
    "tflite": "TensorFlow Lite",
    "tensorflow": "a TensorFlow SavedModel",
    "hdf5": "HDF5 (Keras)",
    "keras": "a Keras archive",
    "numpy": "NumPy arrays",
    "openvino": "an OpenVINO model",
    "coreml": "a Core ML model",
    "tokenizer": "a tokenizer, without a model",
    "config": "a configuration, without weights",
    "wheel": "a Python wheel (pypi:NAME packages what a wheel holds)",
    "zip": "a zip archive",
    "gzip": "a gzip archive",
    "tar": "a tar archive",
    "html": "a web page (was the download refused?)",
    "lfs": "a Git LFS pointer, not the model itself (git lfs pull gets it)",
    "empty": "an empty file",
    "unknown": "not a known model format",
}

_MAGICS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GGUF", "gguf"),
    (0, b"lmgg", "ggml"),
    (0, b"fmgg", "ggml"),
    (0, b"tjgg", "ggml"),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"\x93NUMPY", "numpy"),
    (4, b"TFL3", "tflite"),
    (0, b"\x1f\x8b", "gzip"),
    (257, b"ustar", "tar"),
    (0, b"version https://git-lfs", "lfs"),
)

# The most telling member name wins, so the order matters.
_ZIP_MEMBERS: tuple[tuple[bytes, str], ...] = (
    (b"constants.pkl", "torchscript"),
    (b"data.pkl", "pytorch"),
    (b".dist-info/", "wheel"),
    (b"model.weights.h5", "keras"),
    (b".npy", "numpy"),
)

_SUFFIXES: dict[str, str] = {
    ".gguf": "gguf",
    ".ggml": "ggml",
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".ckpt": "pytorch",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".tflite": "tflite",
    ".pb": "tensorflow",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".keras": "keras",
    ".npz": "numpy",
    ".npy": "numpy",
    ".mlmodel": "coreml",
    ".whl": "wheel",
    ".zip": "zip",
}


def detect(source: ByteSource) -> Detected:
    """The format of a file. Never fails on content; what cannot be told is `unknown`."""
    head = source.read_at(0, min(source.size, _HEAD_BYTES))
    found = _by_content(head, source)
    if found:
        return Detected(found, _TITLES[found], "content")
    lowered = source.name.lower()
    for suffix, by_name in _SUFFIXES.items():
        if lowered.endswith(suffix):
            return Detected(by_name, _TITLES[by_name], "name")
    if re.search(r"pytorch_model.*\.bin$", lowered):
        return Detected("pytorch", _TITLES["pytorch"], "name")
    return Detected("unknown", _TITLES["unknown"], "content")


def require_packageable(source: ByteSource) -> Detected:
    """The format, when a bundle can be made of it; else `UnsupportedModelError`."""
    found = detect(source)
    if found.id == "gguf" and found.by == "content":
        return found
    if found.id == "gguf":
        detail = "is named like GGUF but does not begin with the bytes 'GGUF': it is corrupted"
    else:
        detail = f"is {found.title}"
    raise UnsupportedModelError(f"{source.name}: {detail}; what can be packaged: {PACKAGEABLE}")


def _by_content(head: bytes, source: ByteSource) -> str | None:
    if not head:
        return "empty"
    for offset, magic, name in _MAGICS:
        if head[offset : offset + len(magic)] == magic:
            return name
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_kind(head, source)
    checks: tuple[tuple[Callable[[bytes, int], bool], str], ...] = (
        (_is_safetensors, "safetensors"),
        (_is_pickle, "pickle"),
        (_is_onnx, "onnx"),
    )
    for check, name in checks:
        if check(head, source.size):
            return name
    return _text_kind(head)


def _zip_kind(head: bytes, source: ByteSource) -> str:
    """Member names stand in plain bytes at the beginning and in the directory at the end."""
    tail_size = min(source.size, _HEAD_BYTES)
    names = head + source.read_at(source.size - tail_size, tail_size)
    for member, name in _ZIP_MEMBERS:
        if member in names:
            return name
    return "zip"


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return (
        len(head) > 10
        and 2 <= length <= min(size - 8, _SAFETENSORS_MAX_HEADER)
        and re.match(rb'\{\s*("|\})', head[8:64]) is not None
    )


def _is_pickle(head: bytes, _size: int) -> bool:
    return head[0] == 0x80 and len(head) > 2 and 2 <= head[1] <= 5 and head[2:3] in b"\x95}](cX\x8a"


def _is_onnx(head: bytes, size: int) -> bool:
    """ModelProto: field 1 (ir_version, a small number), then a field of type string or message."""
    return (
        size > 16
        and head[0] == 0x08
        and 1 <= head[1] <= 64
        and head[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42)
    )


def _text_kind(head: bytes) -> str | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    lowered = text[:1024].lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "html"
    if lowered.startswith(b"<?xml") and b"<net" in lowered:
        return "openvino"
    if not text.startswith(b"{"):
        return None
    # The file may be longer than the head, so keys are looked for as text first.
    if b'"weightsManifest"' in text or b'"modelTopology"' in text:
        return "tfjs"
    if b'"added_tokens"' in text and b'"model"' in text:
        return "tokenizer"
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(data, dict) and {"model_type", "architectures"} & data.keys():
        return "config"
    return None
