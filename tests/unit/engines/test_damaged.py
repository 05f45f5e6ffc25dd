"""Weights that are not finite are refused: what is computed from them can look like text."""

from __future__ import annotations

import json
import math
import shutil
import struct
from pathlib import Path

import pytest

import mlr
from mlr.errors import FormatError
from tests.support.bundles import package, with_weights

ENGINES = ("kernel", "reference")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantized model whose vectors are norms of several kinds."""
    return package(tmp_path_factory.mktemp("whole"), architecture="gemma3", quantization="Q8_0")


def vectors_of(bundle: Path) -> list[tuple[str, int, int]]:
    """Name, place in the file and length of each vector."""
    (variant,) = json.loads((bundle / "manifest.json").read_bytes())["variants"]
    tensors = [entry for entry in variant["tensors"] if len(entry["shape"]) == 1]
    return [(entry["name"], entry["offset"], entry["shape"][0]) for entry in tensors]


def damaged(whole: Path, folder: Path, tensor: str, index: int, value: float) -> Path:
    """A copy of a bundle with another number in a vector."""
    copy = Path(shutil.copytree(whole, folder / "bundle"))
    with_weights(copy, tensor, 4 * index, struct.pack("<f", value))
    return copy


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_every_vector_is_looked_at(whole: Path, tmp_path: Path, engine: str, value: float) -> None:
    """The first, the last, and one in the middle; a number at the start, at the end, within."""
    vectors = vectors_of(whole)
    for number, which in enumerate((0, len(vectors) // 2, -1)):
        name, offset, length = vectors[which]
        index = (0, length // 2, length - 1)[number]
        folder = tmp_path / str(number)
        bundle = damaged(whole, folder, name, index, value)
        with pytest.raises(
            FormatError, match=f"{name} at byte .*infinite numbers or NaN"
        ) as caught:
            mlr.load_sync(bundle, engine=engine)
        assert caught.value.exit_status == 3
        if engine == "kernel":
            assert caught.value.offset == offset


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [3.4e38, -3.4e38, 1e-45, -0.0])
def test_extreme_numbers_are_numbers(
    whole: Path, tmp_path: Path, engine: str, value: float
) -> None:
    name, _, length = vectors_of(whole)[0]
    with mlr.load_sync(damaged(whole, tmp_path, name, length - 1, value), engine=engine) as model:
        assert model.info.engine == engine


def test_the_first_of_several_is_named(whole: Path, tmp_path: Path) -> None:
    (first, *_), (later, *_) = vectors_of(whole)[1], vectors_of(whole)[5]
    bundle = damaged(whole, tmp_path, later, 0, math.nan)
    with_weights(bundle, first, 0, struct.pack("<f", math.inf))
    with pytest.raises(FormatError, match=first):
        mlr.load_sync(bundle)
