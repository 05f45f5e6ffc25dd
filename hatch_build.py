"""Compiles the WASM kernel while a wheel or an editable install is being built.

Run as a program it only compiles: `python hatch_build.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
SOURCES = ROOT / "runtime_py" / "kernel"
OUTPUT = ROOT / "runtime_py" / "mlr" / "engines" / "kernel"

BASELINE = "generic+simd128+bulk_memory+sign_ext+nontrapping_fptoint+atomics+mutable_globals"
RELAXED = BASELINE + "+relaxed_simd"
# `narrow` is for hosts that make one instruction of the relaxed dot product with 16-bit sums, and
# several of that with 32-bit sums; see the kernel's README.
BUILDS = {
    "simd": [f"-mcpu={BASELINE}"],
    "narrow": [f"-mcpu={RELAXED}", "-DMLR_NARROW"],
    "relaxed": [f"-mcpu={RELAXED}"],
}

FLAGS = [
    "-target", "wasm32-freestanding", "-std=c11", "-O3", "-nostdlib", "-ffreestanding",
    # Floating-point operations keep their order and are never fused: hosts must agree bit for bit.
    "-ffp-contract=off", "-fno-math-errno", "-fno-sanitize=all",
    "-Wall", "-Wextra", "-Werror",
    "-Wl,--no-entry", "-Wl,--import-memory", "-Wl,--shared-memory", "-Wl,--max-memory=4294901760",
    "-Wl,--strip-all", "-Wl,-z,stack-size=131072",
]  # fmt: skip


def compile_kernel() -> None:
    """Compile each build whose output is older than its sources."""
    sources = sorted(SOURCES.glob("*.c"))
    newest = max(path.stat().st_mtime for path in [*SOURCES.glob("*.[ch]"), Path(__file__)])
    for name, flags in BUILDS.items():
        output = OUTPUT / f"kernel-{name}.wasm"
        if output.exists() and output.stat().st_mtime >= newest:
            continue
        temporary = output.with_suffix(".tmp")
        command = [sys.executable, "-m", "ziglang", "cc", *flags, *FLAGS]
        subprocess.run([*command, *map(str, sources), "-o", str(temporary)], check=True)
        temporary.replace(output)


class CustomBuildHook(BuildHookInterface[Any]):
    """Hatchling's entry point."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files of the wheel are collected."""
        compile_kernel()


if __name__ == "__main__":
    compile_kernel()
