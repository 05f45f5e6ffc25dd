from __future__ import annotations

import gguf
import pytest

from mlr.formats.ggml_types import FILE_TYPES, KERNEL_TYPES, TYPES, TYPES_BY_ID, row_bytes

# The package gives Q8_1 the size of an older layout; no file holds that type.
NAMES = sorted(kind.name for kind in gguf.GGMLQuantizationType if kind.name != "Q8_1")


@pytest.mark.parametrize("name", NAMES)
def test_types_are_those_of_the_gguf_package(name: str) -> None:
    kind = gguf.GGMLQuantizationType[name]
    ours = TYPES_BY_ID[kind.value]
    assert (ours.name, (ours.block_size, ours.block_bytes)) == (name, gguf.GGML_QUANT_SIZES[kind])
    assert TYPES[name] is ours


def test_file_types_are_those_of_the_gguf_package() -> None:
    theirs = {kind.value: kind.name for kind in gguf.LlamaFileType if kind.name != "GUESSED"}
    assert FILE_TYPES.keys() == theirs.keys()
    for number, name in FILE_TYPES.items():
        assert theirs[number] in (f"MOSTLY_{name}", f"ALL_{name}")


def test_the_kernel_types_exist() -> None:
    assert set(KERNEL_TYPES) <= TYPES.keys()


def test_rows_are_whole_blocks() -> None:
    assert row_bytes(TYPES["Q4_K"], 512) == 288
    assert row_bytes(TYPES["F32"], 7) == 28
    with pytest.raises(ValueError, match="300 columns are not whole blocks of 256, which Q4_K"):
        row_bytes(TYPES["Q4_K"], 300)
