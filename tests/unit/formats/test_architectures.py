"""Every architecture: its keys are read, and its tensors are those expected."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from mlr.formats.architectures import SUPPORTED_ARCHITECTURES
from mlr.formats.gguf import read_gguf
from mlr.formats.model_config import ModelConfig
from mlr.formats.source import FileSource
from tests.support.architectures import CASES, ArchitectureCase


def test_every_architecture_has_a_case() -> None:
    assert {case.config.architecture for case in CASES.values()} == set(SUPPORTED_ARCHITECTURES)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_file_is_read_back(case: ArchitectureCase, tmp_path: Path) -> None:
    source = FileSource(case.build(tmp_path, "Q8_0"))
    try:
        file = read_gguf(source)
    finally:
        source.close()
    shapes = {tensor.name: tensor.shape for tensor in file.tensors}
    found = ModelConfig.from_gguf(file.metadata, shapes)
    for field in fields(found):  # numbers are float32 in the file
        expected = getattr(case.config, field.name)
        if field.type == "float":
            expected = pytest.approx(expected, rel=1e-6)
        assert getattr(found, field.name) == expected, field.name
    assert ModelConfig.from_json(found.to_json()) == found
