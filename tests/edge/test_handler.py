"""The handler in every host: the answers of Python, in OpenAI's shapes, and what is refused."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import mlr
from mlr_build.cli import main as mlr_build
from tests.edge.hosts import TERMINALS
from tests.edge.serving import HOSTS, serve
from tests.edge.test_faults import SLOW, begun
from tests.edge.test_same_everywhere import MESSAGES, TEMPLATE
from tests.parity.tokenizer.trained import trained
from tests.support.bundles import package as package_bundle
from tests.support.bundles import package_embedder, with_files
from tests.support.tiny_bert import tiny_bert
from tests.unit.server.served import ServerProcess

CONTEXT = 192
TOKEN = "a secret"
ORIGIN = "https://example.org"
PROMPT = "The theory of the thing, don't think: 123 Σίσυφος"
PENALTIES = {"frequency_penalty": 1.5, "presence_penalty": -0.5}
SAMPLED = {"max_tokens": 24, "temperature": 1.1, "top_p": 0.95, "seed": 2**53 - 1}
TEXTS = ["The cat sat on a mat.", "dogs running", "a", "Grüße, 世界!", "the " * 30]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a chat template."""
    tokenizer = trained("llama3")
    bundle = package_bundle(
        tmp_path_factory.mktemp("decoder"),
        quantization="MIXED",
        tied=False,
        n_vocab=tokenizer.get_vocab_size(),
        shard_size=9 * 65536,
    )
    with_files(bundle, TEMPLATE, tokenizer.to_str())
    return bundle


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT."""
    folder = tmp_path_factory.mktemp("encoder")
    source = tiny_bert(folder / "bert")
    command = ["package", str(source), "--out", str(folder / "out"), "--name", "tiny-bert"]
    assert mlr_build(command) == 0
    return folder / "out"


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest, hosts: Path, script: Path) -> str:
    """Where the handler runs."""
    return str(request.param)


@pytest.fixture(scope="module")
def url(host: str, decoder: Path, package: Path) -> Iterator[str]:
    """A server of the decoder that wants a token and lets one origin in."""
    with serve(host, decoder, package, CONTEXT, API_TOKEN=TOKEN, CORS_ORIGIN=ORIGIN) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """A client with the token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def expected(decoder: Path) -> dict[str, Any]:
    """Python's answers, on one thread."""
    with mlr.load_sync(decoder, threads=1, context_length=CONTEXT) as model:
        greedy = model.generate(PROMPT, max_tokens=24)
        sampled = model.generate(PROMPT, **SAMPLED)
        penalized = model.generate(PROMPT, **SAMPLED, **PENALTIES)
    return {"greedy": greedy, "sampled": sampled, "penalized": penalized}


def post(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/completions", json={"model": "tiny", "prompt": PROMPT, **body})


def test_completions(client: httpx.Client, expected: dict[str, Any]) -> None:
    body = post(client, **SAMPLED).json()
    completion = expected["sampled"]
    assert body["id"].startswith("cmpl-")
    assert body["object"] == "text_completion"
    assert body["choices"] == [
        {
            "index": 0,
            "text": completion.text,
            "logprobs": None,
            "finish_reason": completion.finish_reason,
        }
    ]
    prompt, new = len(completion.prompt_token_ids), len(completion.token_ids)
    assert body["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
    }


def test_a_seed_is_signed(client: httpx.Client, decoder: Path) -> None:
    with mlr.load_sync(decoder, threads=1, context_length=CONTEXT) as model:
        expected = model.generate(PROMPT, **SAMPLED | {"seed": 2**64 - 7}).text
    (choice,) = post(client, **SAMPLED | {"seed": -7}).json()["choices"]
    assert choice["text"] == expected


def test_penalties(client: httpx.Client, expected: dict[str, Any]) -> None:
    assert expected["penalized"].text != expected["sampled"].text
    (choice,) = post(client, **SAMPLED, **PENALTIES).json()["choices"]
    assert choice["text"] == expected["penalized"].text


def test_the_official_client(url: str, expected: dict[str, Any]) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        stream = client.completions.create(
            model="tiny",
            prompt=PROMPT,
            max_tokens=24,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        assert "".join(c.choices[0].text for c in chunks if c.choices) == expected["greedy"].text
        usage = chunks[-1].usage
        assert usage is not None
        assert usage.completion_tokens == len(expected["greedy"].token_ids)
        with pytest.raises(openai.NotFoundError, match="there is no model 'other'"):
            client.completions.create(model="other", prompt="a")


def test_a_chat(client: httpx.Client, decoder: Path) -> None:
    options = {"max_completion_tokens": 12, "temperature": 0}
    wanted = {"model": "tiny", "messages": MESSAGES, **options}
    whole = client.post("/v1/chat/completions", json=wanted).json()
    answer = whole["choices"][0]["message"]
    assert (whole["object"], answer["role"]) == ("chat.completion", "assistant")
    with client.stream("POST", "/v1/chat/completions", json=wanted | {"stream": True}) as response:
        deltas = [chunk["choices"][0]["delta"] for chunk in events(response)]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == answer["content"]
    with mlr.load_sync(decoder, threads=1, context_length=CONTEXT) as model:
        text = model.generate(MESSAGES_TEXT, max_tokens=12).text
    assert answer["content"] == text


def test_a_developer_is_the_system_of_templates(client: httpx.Client) -> None:
    def answer(role: str) -> str:
        messages = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        wanted = {"model": "tiny", "messages": messages, "max_tokens": 12, "temperature": 0}
        body = client.post("/v1/chat/completions", json=wanted).json()
        return f"{body['usage']['prompt_tokens']} {body['choices'][0]['message']['content']}"

    assert answer("developer") == answer("system") != answer("assistant")


@pytest.fixture(scope="module")
def server(decoder: Path) -> Iterator[httpx.Client]:
    """`mlr serve` with the same model."""
    with (
        ServerProcess(decoder, "--threads", "1", "--context-length", str(CONTEXT)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("completions", {"logprobs": 5}),
        ("completions", {"logprobs": 0, "prompt": ["Grüße", "a"]}),
        ("completions", {"logprobs": 20, "temperature": 1.5, "seed": 3}),
        ("completions", {"logprobs": 1, "stop": "e"}),
        ("completions", {"logprobs": False}),
        ("chat/completions", {"logprobs": True, "top_logprobs": 3}),
        ("chat/completions", {"logprobs": True}),
        ("chat/completions", {"logprobs": False, "top_logprobs": 0}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities(
    client: httpx.Client, server: httpx.Client, path: str, options: dict[str, Any], stream: bool
) -> None:
    """What `mlr serve` answers, to the last bit, and chunk by chunk."""
    asked = {"prompt": PROMPT} if path == "completions" else {"messages": MESSAGES}
    asked |= {"model": "tiny", "max_tokens": 24, "temperature": 0, "stream": stream, **options}
    answers = []
    for one in (client, server):
        with one.stream("POST", f"/v1/{path}", json=asked) as response:
            assert response.status_code == 200, response.read()
            chunks = list(events(response)) if stream else [json.loads(response.read())]
        answers.append([chunk["choices"] for chunk in chunks])
    assert answers[0] == answers[1]
    said = [choice["logprobs"] for choices in answers[0] for choice in choices]
    assert any(said) == (options["logprobs"] is not False)


@pytest.mark.parametrize("length", [CONTEXT - 2, CONTEXT - 1, CONTEXT])
def test_a_full_context_as_mlr_serve(
    client: httpx.Client, server: httpx.Client, length: int
) -> None:
    asked = {"model": "tiny", "prompt": [5] * length, "max_tokens": 99, "temperature": 0}
    answers = [one.post("/v1/completions", json=asked).json() for one in (client, server)]
    for answer in answers:
        assert answer["usage"]["completion_tokens"] == CONTEXT + 1 - length
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[0]["choices"][0]["finish_reason"] == "length"


def test_a_chat_until_the_context_is_full_as_mlr_serve(
    client: httpx.Client, server: httpx.Client
) -> None:
    asked = {"model": "tiny", "messages": MESSAGES, "temperature": 0}
    answers = [one.post("/v1/chat/completions", json=asked).json() for one in (client, server)]
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[0]["usage"]["total_tokens"] == answers[1]["usage"]["total_tokens"]


def test_log_probabilities_without_their_number(client: httpx.Client) -> None:
    wanted = {"model": "tiny", "messages": MESSAGES, "top_logprobs": 2}
    answer = client.post("/v1/chat/completions", json=wanted)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "top_logprobs")


# What the template makes of the messages, less the begin token, which `generate` adds.
MESSAGES_TEXT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nGröße? 世界 👩🏾‍🚀<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def events(response: httpx.Response) -> Iterator[Any]:
    """The JSON of each event of a stream, which must end as OpenAI's do."""
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    for line in lines[:-1]:
        yield json.loads(line.removeprefix("data: "))


def test_several_at_once(client: httpx.Client, expected: dict[str, Any]) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post(client, **SAMPLED), range(8)))
    assert {answer.json()["choices"][0]["text"] for answer in answers} == {expected["sampled"].text}


def test_a_client_that_leaves_frees_the_model(client: httpx.Client) -> None:
    """A generation begins when the one before has ended, by itself or because nobody reads it."""
    wanted = {"model": "tiny", "prompt": [5, 6, 7], "max_tokens": 180, "temperature": 1}
    start = time.monotonic()
    client.post("/v1/completions", json=wanted)
    whole = time.monotonic() - start
    start = time.monotonic()
    for seed in range(12):
        body = wanted | {"stream": True, "seed": seed}
        with client.stream("POST", "/v1/completions", json=body) as response:
            assert next(response.iter_lines()).startswith("data: {")
    assert post(client, max_tokens=1).status_code == 200
    assert time.monotonic() - start < 6 * whole + 1


@pytest.mark.parametrize("program", ["node 20", "deno"])
def test_a_client_that_leaves_stops_the_model_at_once(
    program: str, hosts: Path, decoder: Path, package: Path, tmp_path: Path
) -> None:
    """Counted in passes of the kernel, each of which takes 100 ms more than it would."""
    slow = begun(package, tmp_path, f"{TERMINALS[program]}/worker.js", SLOW)
    stream = {"model": "tiny", "prompt": [5, 6, 7], "max_tokens": 180, "stream": True}
    count = {"model": "tiny", "prompt": [5], "max_tokens": 1, "logprobs": 0}
    with serve(program, decoder, slow, CONTEXT) as url, httpx.Client(timeout=60) as client:
        with client.stream("POST", f"{url}/v1/completions", json=stream) as response:
            assert next(response.iter_lines()).startswith("data: {")
        (choice,) = client.post(f"{url}/v1/completions", json=count).json()["choices"]
    (passes,) = choice["logprobs"]["token_logprobs"]
    assert 2 <= -passes <= 8


def test_a_client_that_waits_for_embeddings_and_leaves(
    hosts: Path, package: Path, tmp_path: Path
) -> None:
    """The model is free at once. Before an answer begins, of these hosts only Node.js says so."""
    embedder = package_embedder(tmp_path, context_length=2048)
    many = {"model": "embedder", "input": [[3 + i] + [5] * 1499 for i in range(24)]}
    one = {"model": "embedder", "input": "a"}
    with serve("node 20", embedder, package, 2048) as url, httpx.Client(timeout=60) as client:

        def seconds(body: dict[str, Any]) -> float:
            start = time.monotonic()
            assert client.post(f"{url}/v1/embeddings", json=body).status_code == 200
            return time.monotonic() - start

        whole = seconds(many)
        with pytest.raises(httpx.ReadTimeout):
            client.post(f"{url}/v1/embeddings", json=many, timeout=whole / 8)
        assert seconds(one) < whole / 2


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"max_tokens": 0}, 400, "invalid_value", "max_tokens"),
        ({"temperature": "hot"}, 400, "invalid_value", "temperature"),
        ({"presence_penalty": 2.5}, 400, "invalid_value", "presence_penalty"),
        ({"logprobs": 21}, 400, "invalid_value", "logprobs"),
        ({"logprobs": True}, 400, "invalid_value", "logprobs"),
        ({"top_logprobs": 3}, 400, "unsupported_parameter", "top_logprobs"),
        ({"n": 2}, 400, "unsupported_parameter", "n"),
        ({"surprise": 1}, 400, "unknown_parameter", "surprise"),
        ({"prompt": {}}, 400, "invalid_value", "prompt"),
        ({"prompt": [10**6]}, 400, None, None),
        ({"prompt": [5] * (CONTEXT + 1)}, 400, "context_length_exceeded", None),
        ({"prompt": [5] * (CONTEXT + 1), "stream": True}, 400, "context_length_exceeded", None),
        ({"stop": [""]}, 400, "invalid_value", "stop"),
        ({"prompt": "a" * (64 * CONTEXT + 1)}, 400, "context_length_exceeded", "prompt"),
        ({"model": "other"}, 404, "model_not_found", "model"),
        ({"model": {"toString": 1}}, 400, "invalid_value", "model"),
        ({"stream": True, "stream_options": 5}, 400, "invalid_value", "stream_options"),
        ({"prompt": "a" * 2**20}, 413, "request_too_large", None),
    ],
)
def test_refusals(
    client: httpx.Client, body: dict[str, Any], status: int, code: str | None, param: str | None
) -> None:
    answer = post(client, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_bodies_that_are_no_json_objects(client: httpx.Client) -> None:
    json_type = {"Content-Type": "application/json"}
    deep = b'{"model":"tiny","prompt":"a","tools":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for content in (b"", b"{", b"[]", b"\xff", deep):
        answer = client.post("/v1/completions", content=content, headers=json_type)
        assert answer.status_code == 400
    answer = client.post("/v1/completions", content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


def test_a_post_without_a_body(url: str) -> None:
    """Not even an empty one."""
    host, _, port = url.removeprefix("http://").partition(":")
    fields = [f"Host: {host}", f"Authorization: Bearer {TOKEN}", "Content-Type: application/json"]
    head = "\r\n".join(["POST /v1/completions HTTP/1.1", *fields, "", ""])
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_far_too_large(client: httpx.Client, declared: bool) -> None:
    """The answer comes, though the client reads nothing before it has sent all."""
    part = b"a" * 2**16
    content = part * 300 if declared else (part for _ in range(300))
    headers = {"Content-Type": "application/json"}
    answer = client.post("/v1/completions", content=content, headers=headers, timeout=5)
    assert answer.status_code == 413
    assert post(client, max_tokens=1).status_code == 200


def test_routes(client: httpx.Client) -> None:
    assert client.get("/v1/models/tiny").json()["id"] == "tiny"
    assert client.head("/v1/models").status_code == 200
    assert client.get("/v1/completions").status_code == 405
    refused = client.post("/v1/models", json={})
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert client.get("/manifest.json").status_code == 404, "the model's files are not public"


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}"])
def test_the_token_is_needed(url: str, header: str | None) -> None:
    answer = httpx.get(f"{url}/v1/models", headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_cors_lets_one_origin_in(url: str) -> None:
    wanted = "authorization,content-type,x-stainless-os"  # as OpenAI's client in a page
    asking = {"Origin": ORIGIN, "Access-Control-Request-Headers": wanted}
    asked = httpx.options(f"{url}/v1/completions", headers=asking)
    refused = httpx.get(f"{url}/v1/models")
    assert (asked.status_code, refused.status_code) == (204, 401)
    for answer in (asked, refused):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert asked.headers["access-control-allow-headers"] == wanted


def test_embeddings(host: str, encoder: Path, package: Path) -> None:
    with mlr.load_sync(encoder, threads=1) as model:
        vectors = model.embed(TEXTS).vectors
        generated = [list(vector) for vector in vectors]
        ids = [model.tokenize(text) for text in TEXTS[:2]]
    with serve(host, encoder, package, 40) as url:
        answer = httpx.post(f"{url}/v1/embeddings", json={"model": "tiny-bert", "input": TEXTS})
        body = answer.json()
        # both print a float32's shortest decimal form or more: the same bits
        assert [item["embedding"] for item in body["data"]] == generated
        assert body["usage"]["prompt_tokens"] > 0
        assert body["truncated"] == [4]
        wanted = {"model": "tiny-bert", "input": ids}  # as LangChain's client sends it
        by_ids = httpx.post(f"{url}/v1/embeddings", json=wanted).json()
        assert [item["embedding"] for item in by_ids["data"]] == generated[:2]
        assert "access-control-allow-origin" not in answer.headers, "off by default"
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            made = client.embeddings.create(model="tiny-bert", input=TEXTS)  # as base64
            assert [item.embedding for item in made.data] == generated
            with pytest.raises(openai.BadRequestError, match="makes embeddings, and no text"):
                client.completions.create(model="tiny-bert", prompt="a cat")
