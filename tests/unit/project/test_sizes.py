"""The sizes that mlr promises, and what is in the wheel. Raise a budget only with a reason."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.project.test_imports import imports_of, is_module

ROOT = Path(__file__).resolve().parents[3]
KERNELS = ROOT / "runtime_py" / "mlr" / "engines" / "kernel"
PAGE = ROOT / "runtime_py" / "mlr" / "server" / "page"
CLIENT = ROOT / "web" / "dist"

KB = 1000
MB = 1000 * KB

KERNEL_BUDGET = 400 * KB  # each build; the peers' engines take 8 to 27 MB
FUNCTION_BUDGET = 6 * KB  # of each function in it: V8 takes 100 ms to optimize one of 15 kB
CLIENT_BUDGET = 600 * KB  # the npm package in a browser and one kernel, compressed
# Of a visit: scripts, styles, one kernel, mlr's own Python; without Pyodide. About 70 kB of it,
# uncompressed, hold answers to JSON schemas.
PAGE_BUDGET = 800 * KB
PYODIDE_BUDGET = 14 * MB
WHEEL_BUDGET = 8 * MB
PYTHON_BUDGET = 375 * KB  # of the wheel, compressed: mlr's and mlr_build's own modules

CODE_SECTION = 10  # its number in a WebAssembly module

# Where the wheel may have files that are not Python.
DATA = {
    "mlr/py.typed",
    "mlr_build/py.typed",
    "mlr/bundle/manifest.schema.json",
    "mlr/engines/kernel/kernel-simd.wasm",
    "mlr/engines/kernel/kernel-relaxed.wasm",
    "mlr/engines/kernel/kernel-narrow.wasm",
    "mlr/engines/kernel/kernel-relaxed64.wasm",
}
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def build_wheel(out: Path) -> Path:
    """Build the wheel from the tree, with the tools that are installed."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, timeout=240)
    (path,) = out.glob("mlr-*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel."""
    with zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel"))) as wheel:
        yield wheel


@pytest.fixture(scope="module")
def page() -> list[Path]:
    """The files of the built page."""
    if not (PAGE / "index.html").is_file():
        pytest.skip("the page is not built: run `make page`")
    return [path for path in PAGE.rglob("*") if path.is_file()]


def is_pyodide(path: Path) -> bool:
    """Whether a file of the page is Pyodide's, not ours."""
    return "pyodide" in path.relative_to(PAGE).parts[:-1]


def total(paths: list[Path]) -> int:
    """Bytes that files take together."""
    return sum(path.stat().st_size for path in paths)


@pytest.mark.parametrize("build", ["simd", "relaxed", "narrow", "relaxed64"])
def test_kernel(build: str) -> None:
    assert (KERNELS / f"kernel-{build}.wasm").stat().st_size < KERNEL_BUDGET


@pytest.mark.parametrize("build", ["simd", "relaxed", "relaxed64"])
def test_functions_of_the_kernel(build: str) -> None:
    sizes = function_sizes((KERNELS / f"kernel-{build}.wasm").read_bytes())
    assert len(sizes) > 100
    assert max(sizes) < FUNCTION_BUDGET


def function_sizes(module: bytes) -> list[int]:
    """Bytes of each function in the code section of a WebAssembly module."""

    def number(at: int) -> tuple[int, int]:
        """An unsigned LEB128 number, and where it ends."""
        value = shift = 0
        while True:
            byte = module[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at

    at = 8
    while module[at] != CODE_SECTION:
        size, at = number(at + 1)
        at += size
    _, at = number(at + 1)
    count, at = number(at)
    sizes = []
    for _ in range(count):
        size, at = number(at)
        sizes.append(size)
        at += size
    return sizes


def test_page_without_pyodide(page: list[Path]) -> None:
    """What a visit downloads: one of the kernels, and everything else."""
    not_taken = {"kernel-simd.wasm", "kernel-relaxed64.wasm"}
    taken = [path for path in page if path.name not in not_taken and not is_pyodide(path)]
    assert total(taken) < PAGE_BUDGET


def test_the_page_has_all_of_the_python_that_it_imports_and_no_more(page: list[Path]) -> None:
    source = PAGE / "mlr-python.json"
    paths = {Path(name) for name in json.loads(source.read_bytes())}
    there = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
    found: set[str] = set()
    pending = ["mlr.session", "mlr.hosts.pyodide"]
    while pending:
        module = pending.pop()
        if module in found or not module.startswith("mlr") or not is_module(module):
            continue
        found.add(module)
        pending += [module.rpartition(".")[0]]
        folder = ROOT / "runtime_py" / Path(*module.split("."))
        path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        pending += [one.module for one in imports_of(path, module)]
    # chosen by the host that it is not, or by a name that the page does not give
    elsewhere = {"mlr.engines.kernel.wasmtime", "mlr.engines.reference", "mlr.hosts.cpython"}
    assert {module for module in found if not module.startswith(tuple(elsewhere))} == there


def test_pyodide(page: list[Path]) -> None:
    pyodide = [path for path in page if is_pyodide(path)]
    assert pyodide
    assert total(pyodide) < PYODIDE_BUDGET


def test_no_asset_is_over_cloudflares_limit(page: list[Path]) -> None:
    assert max(path.stat().st_size for path in page) < 25 * 1024 * 1024


def test_wheel_size(wheel: zipfile.ZipFile, page: list[Path]) -> None:
    assert wheel.filename is not None
    assert Path(wheel.filename).stat().st_size < WHEEL_BUDGET


def test_wheel_without_the_page(wheel: zipfile.ZipFile) -> None:
    python = [entry for entry in wheel.infolist() if entry.filename.endswith(".py")]
    assert sum(entry.compress_size for entry in python) < PYTHON_BUDGET


def test_wheel_holds_every_module_and_nothing_unexpected(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = {
        str(path.relative_to(folder))
        for folder, package in ((ROOT / "runtime_py", "mlr"), (ROOT / "toolchain", "mlr_build"))
        for path in (folder / package).rglob("*.py")
    }
    built = ("mlr/server/page/", "mlr_build/edge/")
    in_page = {name for name in names if name.startswith(built)}
    in_metadata = {
        name.partition("/")[2] for name in names if name.partition("/")[0].endswith(".dist-info")
    }
    others = {name for name in names - in_page if not name.partition("/")[0].endswith(".dist-info")}
    assert others == modules | DATA
    assert in_metadata == METADATA


def test_wheel_holds_the_page(wheel: zipfile.ZipFile, page: list[Path]) -> None:
    names = {name for name in wheel.namelist() if name.startswith("mlr/server/page/")}
    assert names == {f"mlr/server/page/{path.relative_to(PAGE).as_posix()}" for path in page}
    assert not [name for name in names if name.endswith((".map", ".ts", ".tmp"))]
    assert "mlr_build/edge/worker.js" in wheel.namelist()


def test_the_same_tree_gives_the_same_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    assert wheel.filename is not None
    assert build_wheel(tmp_path).read_bytes() == Path(wheel.filename).read_bytes()


def test_a_cold_start_without_python_is_small() -> None:
    if not CLIENT.is_dir():
        pytest.skip("the npm package is not built: run `make package`")
    files = [path for path in (CLIENT / "browser").glob("*.js") if path.name != "testing.js"]
    assert files
    for kernel in CLIENT.glob("kernel-*.wasm"):
        sizes = [len(gzip.compress(path.read_bytes())) for path in [*files, kernel]]
        assert sum(sizes) <= CLIENT_BUDGET, (kernel.name, sizes)
