"""Compiles the WASM kernel while a wheel or an editable install is being built.

Run as a program it only compiles: `python hatch_build.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
SOURCES = ROOT / "runtime_py" / "kernel"
OUTPUT = ROOT / "runtime_py" / "mlr" / "engines" / "kernel"

BASELINE = "generic+simd128+bulk_memory+sign_ext+nontrapping_fptoint+atomics+mutable_globals"
RELAXED = BASELINE + "+relaxed_simd"
GIB = 1 << 30


class Build(NamedTuple):
    """One of the modules that the sources are compiled into."""

    cpu: str
    target: str = "wasm32"
    max_memory: int = 4 * GIB - (1 << 16)  # bytes that a host may give it
    define: tuple[str, ...] = ()


# `narrow` is for hosts that make one instruction of the relaxed dot product with 16-bit sums, and
# several of that with 32-bit sums; see the kernel's README.
BUILDS = {
    "simd": Build(BASELINE),
    "narrow": Build(RELAXED, define=("-DMLR_NARROW",)),
    "relaxed": Build(RELAXED),
    "relaxed64": Build(RELAXED, "wasm64", 16 * GIB),  # as much as the linker allows
}

COMPILE = [
    "-c", "-std=c11", "-O3", "-ffreestanding",
    # Floating-point operations keep their order and are never fused: hosts must agree bit for bit.
    "-ffp-contract=off", "-fno-math-errno", "-fno-sanitize=all",
    "-Wall", "-Wextra", "-Werror",
]  # fmt: skip
LINK = [
    "--no-entry", "--import-memory", "--shared-memory", "--strip-all", "-z", "stack-size=131072",
]  # fmt: skip


def zig(*arguments: str) -> None:
    """Run a program of the compiler."""
    subprocess.run([sys.executable, "-m", "ziglang", *arguments], check=True)


def compile_kernel() -> None:
    """Compile each build whose output is older than its sources."""
    newest = max(path.stat().st_mtime for path in [*SOURCES.glob("*.[ch]"), Path(__file__)])
    for name, build in BUILDS.items():
        output = OUTPUT / f"kernel-{name}.wasm"
        if not output.exists() or output.stat().st_mtime < newest:
            compile_build(build, output, sorted(SOURCES.glob("*.c")))


def compile_build(build: Build, output: Path, sources: Iterable[Path], *extra: str) -> None:
    """Compile every source, with the flags of the build and those in `extra`; link the objects."""
    target = ["-target", f"{build.target}-freestanding", f"-mcpu={build.cpu}"]
    flags = [*target, *COMPILE, *build.define, *extra]

    def compile_source(source: Path) -> str:
        out = str(Path(folder) / source.with_suffix(".o").name)
        zig("cc", *flags, str(source), "-o", out)
        return out

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_source, sources))
        temporary = output.with_suffix(".tmp")
        limits = [f"--max-memory={build.max_memory}", f"-m{build.target}"]
        zig("wasm-ld", *LINK, *limits, *objects, "-o", str(temporary))
        temporary.replace(output)


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatchling's entry point."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files of the wheel are collected."""
        compile_kernel()


if __name__ == "__main__":
    compile_kernel()
