"""Writes the Python of the page: `mlr`'s modules as one JSON object, path to source.

    python web/python_sources.py OUTPUT

Comments and docstrings are a quarter of what a visit would download of it, and are left out.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "runtime_py" / "mlr"

NOT_IN_BROWSERS = (
    *("cli", "server", "page", "blocking.py", "terminal.py", "__main__.py"),
    *("engines/reference", "engines/kernel/wasmtime.py", "hosts/cpython.py"),
    # readers of model files
    *(f"formats/{name}.py" for name in ("gguf", "safetensors", "detect", "cursor", "source")),
    *("tokenizer/chat.py", "tokenizer/chat_sandbox.py"),  # they need Jinja2
)

DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> dict[str, str]:
    """The modules that run in a browser."""
    skipped = [PACKAGE / name for name in NOT_IN_BROWSERS]
    paths = sorted(
        path
        for path in PACKAGE.rglob("*.py")
        if not any(path.is_relative_to(place) for place in skipped)
    )
    return {
        f"mlr/{path.relative_to(PACKAGE).as_posix()}": bare(path.read_text(encoding="utf-8"))
        for path in paths
    }


def bare(source: str) -> str:
    """The same program without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(sources()), encoding="utf-8")
