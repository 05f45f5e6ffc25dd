"""Fixtures: a server with a fake model, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.unit.server.fakes import FakeModel, LiveServer, wait_until


@pytest.fixture(scope="session")
def _running() -> Iterator[LiveServer]:
    with LiveServer(FakeModel()) as server:
        yield server


@pytest.fixture
def live(_running: LiveServer) -> Iterator[LiveServer]:
    """A server with a fake model, which is as good as new for each test."""
    _running.reset()
    yield _running
    # The last request is still being put away when its answer arrives; nothing else is left.
    wait_until(lambda: _running.served.turns.admitted == 0 and _running.model.running == 0)


@pytest.fixture(scope="session")
def _session_client(_running: LiveServer) -> Iterator[httpx.Client]:
    with _running.client() as client:
        yield client


@pytest.fixture
def client(live: LiveServer, _session_client: httpx.Client) -> httpx.Client:
    """A client of that server."""
    return _session_client
