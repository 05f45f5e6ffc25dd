"""The descriptor, and what the kernel says to one that is wrong in any byte."""

from __future__ import annotations

import contextlib
import math
import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlr.engines.kernel.descriptor import (
    ENTRY,
    FIELDS,
    HEADER,
    LAYER_SLOTS,
    SHARED_SLOTS,
    build_descriptor,
)
from mlr.engines.kernel.instance import KernelOptions
from mlr.engines.kernel.wasmtime import PLANNER_PAGES, WasmtimeKernel, plan
from mlr.errors import EngineError, LoadError, RequestError, UnsupportedModelError
from mlr.formats.gguf import GgufTensor, read_gguf
from mlr.formats.model_config import ModelConfig
from mlr.formats.source import FileSource
from tests.support.architectures import CASES
from tests.support.tiny_models import tiny_gguf

SOURCES = Path(__file__).parents[4] / "runtime_py" / "kernel"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelConfig, list[GgufTensor]]:
    path = tiny_gguf(tmp_path_factory.mktemp("model") / "gemma3.gguf", architecture="gemma3")
    return read_model(path)


def read_model(path: Path) -> tuple[ModelConfig, list[GgufTensor]]:
    source = FileSource(path)
    file = read_gguf(source)
    source.close()
    shapes = {tensor.name: tensor.shape for tensor in file.tensors}
    return ModelConfig.from_gguf(file.metadata, shapes), list(file.tensors)


def test_the_kernel_accepts_it(model: tuple[ModelConfig, list[GgufTensor]]) -> None:
    descriptor = build_descriptor(*model)
    assert len(descriptor) == HEADER.size + 8 * len(FIELDS) + len(model[1]) * ENTRY.size
    needs = plan(descriptor, KernelOptions(128, 2))
    assert needs.total_bytes > needs.memory.total - 1


def test_the_c_sources_list_the_same_fields_and_slots_in_the_same_order() -> None:
    config = (SOURCES / "config.h").read_text()
    assert tuple(re.findall(r"(?:WHOLE|REAL)\((\w+), \S", config)[: len(FIELDS)]) == FIELDS
    header = (SOURCES / "kernel.h").read_text()
    slots = re.search(r"typedef enum \{\s*/\* of the whole model \*/(.*?)N_SLOTS", header, re.S)
    assert slots is not None
    beside = {"": 1, "NORM": 2, "LINEAR": 3}
    names = re.findall(r"^  (?:(NORM|LINEAR)\()?([A-Z]\w+)", slots[1], re.M)
    assert sum(beside[kind] for kind, _ in names) == len(SHARED_SLOTS) + len(LAYER_SLOTS)
    # The header's names are the files' own, but for two.
    renamed = {"POST_ATTN_NORM": "post_attention_norm", "POST_FFN_NORM": "post_ffw_norm"}
    ours = [renamed.get(name, name.lower()).removesuffix("_bias") for _, name in names]
    files = [slot.rsplit(".", 1)[0].replace(".", "_") for slot in SHARED_SLOTS + LAYER_SLOTS]
    assert list(dict.fromkeys(ours)) == list(dict.fromkeys(files))


def test_every_field_has_a_range(model: tuple[ModelConfig, list[GgufTensor]]) -> None:
    descriptor = build_descriptor(*model)
    for i, name in enumerate(FIELDS):
        at = HEADER.size + 8 * i
        whole = not isinstance(getattr(model[0], name), float)
        for value in (math.nan, math.inf, -math.inf, -1.0, 1e300, 1.5 if whole else 1e13):
            wrong = descriptor[:at] + struct.pack("<d", value) + descriptor[at + 8 :]
            with pytest.raises(LoadError):
                plan(wrong, KernelOptions(128, 2))


def test_an_unknown_tensor_is_named(model: tuple[ModelConfig, list[GgufTensor]]) -> None:
    config, tensors = model
    for name in ("blk.0.attn_sinks.weight", "blk.x.attn_q.weight", "blk.", "", "blk.1"):
        with pytest.raises(UnsupportedModelError, match="not one that the kernel"):
            build_descriptor(config, [*tensors[1:], replace(tensors[0], name=name)])


def test_an_unknown_type_is_named(model: tuple[ModelConfig, list[GgufTensor]]) -> None:
    config, tensors = model
    with pytest.raises(UnsupportedModelError, match=r"IQ1_S .*supported: F32"):
        build_descriptor(config, [replace(tensors[0], type="IQ1_S"), *tensors[1:]])


def test_vectors_must_be_f32(model: tuple[ModelConfig, list[GgufTensor]]) -> None:
    config, tensors = model
    changed = [replace(t, type="F16") if len(t.shape) == 1 else t for t in tensors]
    with pytest.raises(UnsupportedModelError, match="must be F32"):
        build_descriptor(config, changed)


def test_a_missing_tensor_is_refused(model: tuple[ModelConfig, list[GgufTensor]]) -> None:
    config, tensors = model
    for gone in ("blk.3.attn_k.weight", "output_norm.weight", "token_embd.weight"):
        with pytest.raises(LoadError, match="missing"):
            plan(
                build_descriptor(config, [t for t in tensors if t.name != gone]),
                KernelOptions(64, 1),
            )


def test_a_wrong_shape_is_refused(model: tuple[ModelConfig, list[GgufTensor]]) -> None:
    config, tensors = model
    for i, tensor in enumerate(tensors):
        wrong = (tensor.shape[0] + 1, *tensor.shape[1:])
        changed = [*tensors[:i], replace(tensor, shape=wrong), *tensors[i + 1 :]]
        with pytest.raises(LoadError):
            plan(build_descriptor(config, changed), KernelOptions(64, 1))


@pytest.mark.parametrize(("context", "threads"), [(0, 1), (1 << 25, 1), (64, 0), (64, 65)])
def test_arguments_out_of_range_are_refused(
    model: tuple[ModelConfig, list[GgufTensor]], context: int, threads: int
) -> None:
    with pytest.raises(RequestError):
        plan(build_descriptor(*model), KernelOptions(context, threads))


@pytest.fixture(scope="module")
def descriptors(
    model: tuple[ModelConfig, list[GgufTensor]], tmp_path_factory: pytest.TempPathFactory
) -> list[bytes]:
    """Of a few architectures that use different fields and tensors."""
    folder = tmp_path_factory.mktemp("architectures")
    names = ("qwen2moe", "phi3-longrope", "falcon-two-norms", "bloom", "bert-rank", "bitnet")
    others = [build_descriptor(*read_model(CASES[name].build(folder))) for name in names]
    return [build_descriptor(*model), *others]


def layout(descriptor: bytes) -> None:
    """Lay a model out on a memory that is too small to hold any."""
    kernel = WasmtimeKernel(PLANNER_PAGES)
    try:
        kernel.layout(descriptor, KernelOptions(128, 2))
    finally:
        kernel.close()


def test_nothing_of_a_refused_descriptor_is_left(
    model: tuple[ModelConfig, list[GgufTensor]],
) -> None:
    """What it lists before the mistake would have a place in the next layout."""
    good = build_descriptor(*model)
    kernel = WasmtimeKernel(PLANNER_PAGES)
    try:
        for size, refused in ((100, "-1|range"), (len(good), "shape")):
            wrong = bytearray(good[:size])
            wrong[-ENTRY.size + 12] ^= 1  # the last tensor's rows
            with pytest.raises(LoadError, match=refused):
                kernel.layout(bytes(wrong), KernelOptions(128, 2))
        with pytest.raises(EngineError, match="state"):
            kernel.layout(good, KernelOptions(128, 2))
    finally:
        kernel.close()


def test_tensors_that_the_fields_do_not_ask_for_are_refused(descriptors: list[bytes]) -> None:
    """They would be left out of the computation, and nobody would know."""
    for descriptor in descriptors:
        layout(descriptor)
        for name in ("qk_norm", "token_types", "embedding_norm", "gated", "fused_qkv", "sub_norms"):
            at = HEADER.size + 8 * FIELDS.index(name)
            (value,) = struct.unpack_from("<d", descriptor, at)
            other = struct.pack("<d", 0.0 if value else 1.0)
            with pytest.raises(LoadError):
                layout(descriptor[:at] + other + descriptor[at + 8 :])


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_descriptor_makes_the_kernel_trap(descriptors: list[bytes], data: st.DataObject) -> None:
    descriptor = bytearray(data.draw(st.sampled_from(descriptors)))
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            at = HEADER.size + 8 * data.draw(st.integers(0, len(FIELDS) - 1))
            number = data.draw(st.integers(0, 600).map(float) | st.floats())
            descriptor[at : at + 8] = struct.pack("<d", number)
            continue
        at = data.draw(st.integers(0, len(descriptor) // 4 - 1)) * 4
        word = data.draw(
            st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
        )
        descriptor[at : at + 4] = word.to_bytes(4, "little")
    cut = data.draw(st.sampled_from([None, 0, 3, HEADER.size, len(descriptor) - 1]))
    with contextlib.suppress(LoadError, RequestError):
        layout(bytes(descriptor[:cut]))
