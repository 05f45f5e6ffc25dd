"""The descriptor that JavaScript builds is Python's, byte for byte, for every architecture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from mlr.engines.kernel.descriptor import build_descriptor
from mlr.errors import UnsupportedModelError
from mlr.formats.gguf import read_gguf
from mlr.formats.model_config import ModelConfig
from mlr.formats.source import FileSource
from tests.edge.hosts import ask_internals
from tests.support.architectures import CASES
from tests.support.tiny_cases import TYPE_CASES


def test_same_bytes(package: Path, hosts: Path, tmp_path: Path) -> None:
    tasks: list[dict[str, Any]] = []
    expected: list[str] = []
    for path in [
        *(case.build(tmp_path) for case in CASES.values()),
        *(case.build(tmp_path) for case in TYPE_CASES if "MIXED" in case.name),
    ]:
        source = FileSource(path)
        file = read_gguf(source)
        source.close()
        shapes = {tensor.name: tensor.shape for tensor in file.tensors}
        config = ModelConfig.from_gguf(file.metadata, shapes)
        try:
            expected.append(build_descriptor(config, file.tensors).hex())
        except UnsupportedModelError:  # the kernel does not compute it
            continue
        tensors = [asdict(tensor) for tensor in file.tensors]
        tasks.append({"task": "descriptor", "config": config.to_json(), "tensors": tensors})
    assert len({task["config"]["architecture"] for task in tasks}) >= 4
    assert ask_internals(package, tasks, tmp_path) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_embd", "x"), ("norm", "batch"), ("rope_theta", None), ("n_layers", "1")],
)
def test_a_wrong_value_is_named(
    field: str, value: Any, package: Path, hosts: Path, tmp_path: Path
) -> None:
    task = {"task": "descriptor", "config": {field: value}, "tensors": []}
    (answer,) = ask_internals(package, [task], tmp_path)
    assert answer["error"] == "ManifestError"
