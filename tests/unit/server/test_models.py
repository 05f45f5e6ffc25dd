"""`/v1/models` and `/health`."""

from __future__ import annotations

import httpx

from mlr import __version__


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
        "models": [{"id": "fake", "engine": "fake", "context_length": 1000, "requests": 0}],
    }


def test_head(client: httpx.Client) -> None:
    answer = client.head("/health")
    assert answer.status_code == 200
    assert answer.content == b""
