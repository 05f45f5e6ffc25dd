"""Data flows one way: what each part of mlr may import, read from the source.

`hosts.base` is the interface that everything may use; the hosts behind it put the parts
together, so they alone may reach up to bundles and engines, and do so inside functions.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {"mlr": ROOT / "runtime_py" / "mlr", "mlr_build": ROOT / "toolchain" / "mlr_build"}

# Part → the parts that it may import, besides itself, when it runs.
BELOW: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "arguments": frozenset({"errors"}),
    "formats": frozenset({"errors"}),
    "tokenizer": frozenset({"errors"}),
    "hosts.base": frozenset({"errors"}),
    "bundle": frozenset({"errors", "formats", "hosts.base"}),
    "engines": frozenset({"errors", "formats", "bundle", "hosts.base"}),
    "hosts": frozenset({"errors", "formats", "bundle", "engines", "hosts.base"}),
    "grammar": frozenset({"errors", "tokenizer"}),
    "choosing": frozenset({"engines", "grammar"}),
    "speculation": frozenset({"errors", "choosing", "engines", "tokenizer"}),
    "scheduler": frozenset({"errors", "choosing", "engines", "hosts.base", "speculation"}),
    "generation": frozenset(
        {"errors", "choosing", "engines", "grammar", "scheduler", "speculation", "tokenizer"}
    ),
    "opening": frozenset({"errors", "engines", "hosts.base"}),
}
BELOW["saved_prompt"] = BELOW["generation"] | {"generation"}
BELOW["pairs"] = frozenset({"tokenizer"})
BELOW["embedding"] = BELOW["scheduler"] | {"scheduler", "tokenizer", "pairs"}
BELOW["model"] = BELOW["generation"] | {"hosts.base", "formats", "bundle", "hosts", "generation"}
BELOW["model"] |= {"arguments", "embedding", "opening", "saved_prompt"}
BELOW["blocking"] = BELOW["model"] | {"model"}
BELOW["page"] = frozenset({"errors", "bundle"})
BELOW["server"] = BELOW["model"] | {"model", "page"}
BELOW["session"] = BELOW["model"] | {"model"}  # what the page's worker talks to
BELOW["terminal"] = frozenset({"errors"})
BELOW["cli"] = BELOW["server"] | {"server", "terminal"}
BELOW["__main__"] = frozenset({"cli"})
# The package itself names its public face lazily; what imports it gets no part with it.
BELOW["__init__"] = frozenset()
BELOW["mlr_build"] = frozenset(
    {"errors", "formats", "bundle", "tokenizer", "engines", "hosts.base", "hosts", "page"}
    | {"terminal"}
)

# Packages that a part needs to be of any use: whoever imports the part has chosen it.
THIRD_PARTY = {
    "mlr.server": {"starlette", "uvicorn", "h11", "pydantic", "pydantic_core"},
    "mlr.engines.reference": {"numpy"},
    "mlr.tokenizer.chat_sandbox": {"jinja2"},
    "mlr_build.numbers": {"numpy"},
    "mlr.hosts.pyodide": {"js", "pyodide", "pyodide_js"},
}


class Import(NamedTuple):
    """One import statement's module, where it stands, and whether it runs on import."""

    module: str
    by: str
    line: int
    inside_function: bool


def part_of(module: str) -> str:
    """The part that a dotted module name belongs to."""
    package, *rest = module.split(".")
    if package == "mlr_build":
        return package
    if rest[:2] == ["hosts", "base"]:
        return "hosts.base"
    return rest[0] if rest else "__init__"


def imports_of(path: Path, module: str) -> Iterator[Import]:
    """Every import of a file but those that only a type checker sees."""

    def walk(node: ast.AST, inside: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, module, child.lineno, inside)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}:{child.lineno}: a relative import"
                source = child.module or ""
                # `from mlr import model` imports mlr.model
                if source.partition(".")[0] in PACKAGES:
                    for alias in child.names:
                        inner = f"{source}.{alias.name}"
                        yield Import(
                            inner if is_module(inner) else source, module, child.lineno, inside
                        )
                else:
                    yield Import(source, module, child.lineno, inside)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    yield from walk(other, inside)
            else:
                deeper = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, inside or deeper)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), False)


def is_module(name: str) -> bool:
    """Whether a dotted name of ours is a file or a folder."""
    package, *rest = name.split(".")
    path = PACKAGES[package].joinpath(*rest)
    return path.is_dir() or path.with_suffix(".py").is_file()


def all_imports() -> list[Import]:
    """Every import of both packages."""
    found = []
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            names = path.relative_to(folder).with_suffix("").parts
            module = ".".join([package, *(name for name in names if name != "__init__")])
            found += list(imports_of(path, module))
    return found


IMPORTS = all_imports()


def test_the_walk_sees_imports() -> None:
    assert len(IMPORTS) > 200
    assert any(found.inside_function for found in IMPORTS)
    assert {part_of(found.by) for found in IMPORTS} <= set(BELOW)


@pytest.mark.parametrize("part", sorted(BELOW))
def test_imports_point_one_way(part: str) -> None:
    against = [
        f"{found.by}:{found.line} imports {found.module}"
        for found in IMPORTS
        if part_of(found.by) == part
        and found.module.partition(".")[0] in PACKAGES
        and part_of(found.module) not in BELOW[part] | {part, "__init__"}
    ]
    assert not against


def test_the_order_has_no_cycle() -> None:
    seen: set[str] = set()
    while len(seen) < len(BELOW):
        free = {part for part, below in BELOW.items() if part not in seen and below <= seen}
        assert free, f"a cycle among {set(BELOW) - seen}"
        seen |= free


def chooser_of(module: str) -> str | None:
    """The entry of `THIRD_PARTY` that a module belongs to."""
    return next((part for part in THIRD_PARTY if f"{module}.".startswith(f"{part}.")), None)


def test_importing_needs_the_standard_library_alone() -> None:
    """Third-party modules are imported in functions, but where a part is built on them."""
    third_party = [
        f"{found.by}:{found.line} imports {found.module}"
        for found in IMPORTS
        if not found.inside_function
        and (top := found.module.partition(".")[0]) not in {*sys.stdlib_module_names, *PACKAGES}
        and top not in THIRD_PARTY.get(chooser_of(found.by) or "", ())
    ]
    assert not third_party


def test_what_is_built_on_third_party_modules_is_imported_by_choice() -> None:
    """Importing anything else does not import such a part along with it."""
    along = [
        f"{found.by}:{found.line} imports {found.module}"
        for found in IMPORTS
        if not found.inside_function
        and (part := chooser_of(found.module)) is not None
        and chooser_of(found.by) != part
    ]
    assert not along
