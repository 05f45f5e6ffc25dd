"""The handler's model and its host: a load that takes too long, and a host's own context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.edge.hosts import PROGRAMS, node, printed
from tests.support.bundles import package as package_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return package_bundle(tmp_path_factory.mktemp("tiny"), n_layers=1)


def run(scenario: str, package: Path, bundle: Path) -> Any:
    """The answers of a scenario of `handling.mjs`."""
    program, location = str(PROGRAMS / "handling.mjs"), f"{package.as_uri()}/"
    return printed([node(24), program, location, scenario, bundle.as_uri()], seconds=60)


def test_a_context_is_used_as_it_is(package: Path, hosts: Path, bundle: Path) -> None:
    """A host's `waitUntil` is a method, which needs its object: loading, answering, streaming."""
    answer = run("context", package, bundle)
    assert answer == {"status": 200, "done": True, "count": 3}


def test_clients_that_leave_as_the_first_token_comes(
    package: Path, hosts: Path, bundle: Path
) -> None:
    """Some hosts never look at the response then, and each keeps no place among 32."""
    assert run("left", package, bundle) == {"statuses": [499], "after": 200}


def test_loads_that_take_too_long(package: Path, hosts: Path, bundle: Path) -> None:
    """The first that ends is kept, though nobody waits for it any more; the other is closed."""
    answer = run("late", package, bundle)
    assert answer == {"statuses": [503, 503, 200, 200], "open": ["fulfilled", "rejected"]}
