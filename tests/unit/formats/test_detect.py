from __future__ import annotations

import io
import json
import pickle
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlr.errors import UnsupportedModelError
from mlr.formats.detect import detect, require_packageable
from mlr.formats.source import BytesSource


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name in names:
            made.writestr(name, b"x" * 10)
    return buffer.getvalue()


def safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x10" + bytes(16)

CONTENTS = {
    "gguf": b"GGUF\3\0\0\0" + bytes(16),
    "ggml": b"tjgg" + bytes(16),
    "safetensors": safetensors(),
    "onnx": ONNX,
    "pytorch": archive("archive/data.pkl", "archive/data/0"),
    "torchscript": archive("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"),
    "pickle": pickle.dumps({"weights": [1, 2]}, protocol=2),
    "tfjs": b'{"format": "layers-model", "modelTopology": {}, "weightsManifest": []}',
    "tflite": b"\x1c\0\0\0TFL3" + bytes(16),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(16),
    "keras": archive("config.json", "model.weights.h5"),
    "numpy": archive("a.npy"),
    "openvino": b'<?xml version="1.0"?>\n<net name="m" version="11">',
    "tokenizer": b'{"version": "1.0", "added_tokens": [], "model": {"type": "BPE"}}',
    "config": b'{"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3"}',
    "wheel": archive("p/__init__.py", "p-1.0.dist-info/METADATA"),
    "zip": archive("readme.txt"),
    "gzip": b"\x1f\x8b\x08" + bytes(16),
    "html": b"\n<!DOCTYPE html><html>",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    "empty": b"",
    "unknown": b"nothing in particular",
}


@pytest.mark.parametrize("expected", CONTENTS)
@pytest.mark.parametrize("name", ["model.bin", "misleading.onnx", "model"])
def test_content_goes_before_the_name(expected: str, name: str) -> None:
    found = detect(BytesSource(CONTENTS[expected], name))
    if expected == "unknown" and name.endswith(".onnx"):
        assert (found.id, found.by) == ("onnx", "name")
    else:
        assert (found.id, found.by) == (expected, "content")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Model.GGUF", "gguf"),
        ("model.safetensors", "safetensors"),
        ("pytorch_model-00001-of-00002.bin", "pytorch"),
        ("weights.h5", "hdf5"),
        ("model.bin", "unknown"),
    ],
)
def test_the_name_is_second(name: str, expected: str) -> None:
    assert detect(BytesSource(b"....", name)).id == expected


def test_only_gguf_can_be_packaged() -> None:
    assert require_packageable(BytesSource(CONTENTS["gguf"], "m")).title == "GGUF"
    with pytest.raises(UnsupportedModelError, match=r"^m.onnx: is ONNX; what can be packaged: GG"):
        require_packageable(BytesSource(ONNX, "m.onnx"))
    with pytest.raises(UnsupportedModelError, match="named like GGUF but does not begin with"):
        require_packageable(BytesSource(b"xxxxxxxx", "m.gguf"))
    with pytest.raises(UnsupportedModelError, match="a Git LFS pointer"):
        require_packageable(BytesSource(CONTENTS["lfs"], "m.gguf"))


@given(st.binary(max_size=300))
def test_nothing_makes_it_fail(data: bytes) -> None:
    detect(BytesSource(data, "any"))
    detect(BytesSource(b"PK\3\4" + data, "any"))
    detect(BytesSource(b'{"a":' + data, "any"))


def test_json_nested_without_end() -> None:
    assert detect(BytesSource(b'{"a":' * 12_000, "deep")).id == "unknown"
