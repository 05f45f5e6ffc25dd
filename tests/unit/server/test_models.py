"""`/v1/models` and `/health`."""

from __future__ import annotations

import httpx

from mlr import __version__
from tests.unit.server.fakes import LiveServer


def test_the_list(client: httpx.Client) -> None:
    body = client.get("/v1/models").json()
    assert body["object"] == "list"
    (model,) = body["data"]
    assert isinstance(model.pop("created"), int)
    assert model == {"id": "fake", "object": "model", "owned_by": "mlr"}


def test_one(client: httpx.Client) -> None:
    assert client.get("/v1/models/fake").json() == client.get("/v1/models").json()["data"][0]


def test_one_there_is_not(client: httpx.Client) -> None:
    for name in ("other", "a/b", "%2e%2e", "fake/"):
        answer = client.get(f"/v1/models/{name}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"


def test_health(client: httpx.Client) -> None:
    assert client.get("/health").json() == {
        "status": "ok",
        "version": __version__,
        "models": [
            {
                "id": "fake",
                "engine": "fake",
                "context_length": 1000,
                "requests": 0,
                "error": None,
            }
        ],
    }


def test_health_with_an_engine_that_failed(live: LiveServer, client: httpx.Client) -> None:
    request = {"model": "fake", "prompt": "a", "max_tokens": 2}
    live.model.fail_at = 1
    assert client.post("/v1/completions", json=request).status_code == 500
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["status"] == "failing"
    assert answer.json()["models"][0]["error"] == "the engine stopped: unreachable"
    live.model.fail_at = None
    assert client.post("/v1/completions", json=request).status_code == 200
    assert client.get("/health").status_code == 200
    assert live.model.loads == 1


def test_head(client: httpx.Client) -> None:
    answer = client.head("/health")
    assert answer.status_code == 200
    assert answer.content == b""
