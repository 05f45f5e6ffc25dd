"""`/v1/embeddings` and `/v1/rerank`, with OpenAI's own client where it has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import mlr
from tests.unit.server.served import ServerProcess

LONG = "the cat sat on the mat " * 10


@pytest.fixture(scope="module")
def server(bert_bundle: Path) -> Iterator[ServerProcess]:
    with ServerProcess(bert_bundle) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with server.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def model(bert_bundle: Path) -> Iterator[mlr.SyncModel]:
    with mlr.load_sync(bert_bundle) as loaded:
        yield loaded


NAME = "tiny-bert"


def test_the_official_client(client: openai.OpenAI, model: mlr.SyncModel) -> None:
    """It asks for base64 unless told otherwise, and decodes it."""
    made = model.embed(["a cat", "the dog ran"])
    for options in ({}, {"encoding_format": "float"}):
        answer = client.embeddings.create(model=NAME, input=["a cat", "the dog ran"], **options)  # type: ignore[arg-type]
        assert [item.embedding for item in answer.data] == made.vectors
        assert [item.index for item in answer.data] == [0, 1]
        assert answer.usage.prompt_tokens == answer.usage.total_tokens == made.tokens


@pytest.mark.parametrize("form", ["text", "tokens", "lists of tokens"])
def test_every_form_of_input(client: openai.OpenAI, model: mlr.SyncModel, form: str) -> None:
    ids = model.tokenize("a cat")
    given: Any = {"text": "a cat", "tokens": ids, "lists of tokens": [ids]}[form]
    answer = client.embeddings.create(model=NAME, input=given, dimensions=64)
    assert [item.embedding for item in answer.data] == model.embed("a cat").vectors


def test_long_inputs_are_cut_unless_that_is_refused(http: httpx.Client) -> None:
    body = {"model": NAME, "input": ["a cat", LONG]}
    assert http.post("/v1/embeddings", json=body).json()["truncated"] == [1]
    answer = http.post("/v1/embeddings", json={**body, "truncate": False})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": []}, "'input'"),
        ({"input": [1, 10**6]}, "is not a token of this model"),
        ({"input": ["a", 1]}, "strings only"),
        ({"input": [[]]}, "'input'"),
        ({"dimensions": 7}, "this model's embeddings have 64"),
        ({"encoding_format": "int8"}, "'encoding_format'"),
        ({"prompt_name": "x"}, "no prompt 'x'"),
        ({"temperature": 1}, "unknown parameter"),
    ],
)
def test_what_is_refused(http: httpx.Client, change: dict[str, Any], message: str) -> None:
    answer = http.post("/v1/embeddings", json={"model": NAME, "input": "a cat", **change})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_embeds_gives_no_text(http: httpx.Client, stream: bool) -> None:
    """With the status of an error in a stream, too."""
    for path, prompt in (
        ("completions", {"prompt": "a"}),
        ("chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
    ):
        answer = http.post(f"/v1/{path}", json={"model": NAME, **prompt, "stream": stream})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["message"] == "this model makes embeddings, and no text"
        assert error["param"] is None


def test_a_model_that_generates_gives_no_embeddings(tiny_bundle: Path, bert_bundle: Path) -> None:
    with ServerProcess(tiny_bundle, bert_bundle) as server, server.client() as http:
        answer = http.post("/v1/embeddings", json={"model": "tiny", "input": "a"})
        assert (answer.status_code, "no embeddings" in answer.text) == (400, True)
        answer = http.post("/v1/completions", json={"model": NAME, "prompt": "a"})
        assert (answer.status_code, "makes embeddings" in answer.text) == (400, True)


def test_reranking(http: httpx.Client, model: mlr.SyncModel) -> None:
    documents = ["a dog", "the cat sat", "!"]
    body = {"model": NAME, "query": "cat", "documents": documents, "top_n": 2}
    answer = http.post("/v1/rerank", json={**body, "return_documents": True}).json()
    made = model.rerank("cat", documents)
    assert [(item["index"], item["relevance_score"]) for item in answer["results"]] == [
        (ranked.index, ranked.score) for ranked in made.results[:2]
    ]
    first = answer["results"][0]
    assert first["document"] == {"text": documents[first["index"]]}
    assert answer["usage"]["total_tokens"] == made.tokens
    wrong: list[dict[str, Any]] = [{"documents": []}, {"top_n": 0}, {"query": 5}]
    for change in wrong:
        assert http.post("/v1/rerank", json={**body, **change}).status_code == 400


def test_reranking_pairs(ranking_bundle: Path) -> None:
    documents = ["a dog", "the cat sat", "!"]
    with ServerProcess(ranking_bundle) as server, server.client() as http:
        answer = http.post(
            "/v1/rerank", json={"model": "tiny-ranker", "query": "cat", "documents": documents}
        ).json()
        refused = http.post("/v1/embeddings", json={"model": "tiny-ranker", "input": "cat"})
    with mlr.load_sync(ranking_bundle) as model:
        made = model.rerank("cat", documents)
    assert [(item["index"], item["relevance_score"]) for item in answer["results"]] == [
        (ranked.index, ranked.score) for ranked in made.results
    ]
    assert (refused.status_code, "ranks pairs" in refused.text) == (400, True)
