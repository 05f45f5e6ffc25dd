"""`import mlr` is fast, and brings nothing but the standard library."""

from __future__ import annotations

import json
import re
import subprocess
import sys

BUDGET_MS = 100

THIRD_PARTY = """
import json, sys
before = {name.partition(".")[0] for name in sys.modules}  # an editable install may add some
import mlr
for name in mlr.__all__:
    getattr(mlr, name)
after = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(after - before - set(sys.stdlib_module_names))))
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=60
    )


def import_ms() -> float:
    """Milliseconds that one interpreter spends in `import mlr`, with all that it imports."""
    report = python("-X", "importtime", "-c", "import mlr").stderr
    times = re.search(r"^import time:\s*\d+ \|\s*(\d+) \| mlr$", report, re.MULTILINE)
    assert times, report
    return int(times[1]) / 1000


def test_import_mlr_is_within_its_budget() -> None:
    assert min(import_ms() for _ in range(3)) < BUDGET_MS


def test_the_public_names_import_the_standard_library_alone() -> None:
    assert json.loads(python("-c", THIRD_PARTY).stdout) == ["mlr"]
