"""The JavaScript interface on a tiny model: streaming, stopping, errors, closing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mlr
from tests.browser.conftest import Tab
from tests.browser.natively import natively
from tests.browser.site import Site

URL = "/bundles/tiny/"


@pytest.fixture
def opened(site: Site, tab: Tab) -> Iterator[Tab]:
    """A tab with the playground, which complains of nothing."""
    site.texts["/bundles.json"] = b"[]"
    tab.page.goto(site.url)
    yield tab
    assert tab.complaints == []


def test_stream_and_generate_agree(opened: Tab, tiny_bundle: Path) -> None:
    result = opened.run("""
        const model = await mlr.load("/bundles/tiny/", {threads: 2, contextLength: 200});
        const stream = model.stream("hello", {maxTokens: 10});
        const tokens = [];
        for await (const token of stream) tokens.push(token);
        const whole = await model.generate("hello", {maxTokens: 10});
        const ids = await model.tokenize("hello");
        const bare = await model.tokenize("hello", {addSpecial: false});
        const fromIds = await model.generate(ids, {maxTokens: 10});
        const {info} = model;
        await model.close();
        return {tokens, streamed: stream.completion, whole, ids, bare, fromIds, info};
    """)

    def all_three(model: mlr.SyncModel) -> tuple[mlr.Completion, list[int], list[int]]:
        return (
            model.generate("hello", max_tokens=10),
            model.tokenize("hello"),
            model.tokenize("hello", add_special=False),
        )

    expected, ids, bare = natively(tiny_bundle, all_three, context_length=200)
    assert (result["ids"], result["bare"]) == (ids, bare)
    assert [token["id"] for token in result["tokens"]] == expected.token_ids
    assert "".join(token["text"] for token in result["tokens"]) == expected.text
    for completion in (result["streamed"], result["whole"], result["fromIds"]):
        assert completion["tokenIds"] == expected.token_ids
        assert completion["text"] == expected.text
    assert result["info"]["contextLength"] == 200
    assert result["info"]["memory"]["total"] > result["info"]["memory"]["weights"] > 0


def test_what_only_python_can(opened: Tab, tiny_bundle: Path) -> None:
    """Options of generations that the package does not have."""
    result = opened.run("""
        const options = {threads: 1, contextLength: 64, sequences: 2};
        const model = await mlr.load("/bundles/tiny/", options);
        const [held, ...others] = await Promise.all([
          model.generate("hello", {maxTokens: 24, responseFormat: {type: "json_object"}}),
          model.generate("hello", {maxTokens: 100, onFull: "shift"}),
          model.generate("hello hello hello", {maxTokens: 24, speculate: "lookup"}),
        ]);
        await model.close();
        return [held, ...others].map((completion) => completion.tokenIds);
    """)

    def natively_too(model: mlr.SyncModel) -> list[list[int]]:
        completions = [
            model.generate("hello", max_tokens=24, response_format={"type": "json_object"}),
            model.generate("hello", max_tokens=100, on_full="shift"),
            model.generate("hello hello hello", max_tokens=24, speculate="lookup"),
        ]
        return [completion.token_ids for completion in completions]

    assert result == natively(tiny_bundle, natively_too, context_length=64)
    assert len(result[1]) == 100, "more than the context holds"


@pytest.mark.parametrize("build", ["relaxed", "simd"])
def test_the_same_log_probabilities(
    opened: Tab, site: Site, built_page: Path, tiny_bundle: Path, build: str
) -> None:
    """Bit for bit those of CPython, at every thread count: they are as sensitive as logits."""
    taken = "/kernel/kernel-relaxed.wasm"  # by every load
    site.texts[taken] = (built_page / "kernel" / f"kernel-{build}.wasm").read_bytes()
    prompt = [(n * 7919) % 290 + 3 for n in range(150)]
    result = opened.run(
        """
        const answers = [];
        for (const threads of [1, 2, 4]) {
          const model = await mlr.load("/bundles/tiny/", {threads});
          const {tokens} = await model.generate(x, {maxTokens: 6, logprobs: 20});
          answers.push([model.info.threads, tokens.map((token) => token.topLogprobs)]);
          await model.close();
        }
        return answers;
        """,
        prompt,
    )
    said = natively(
        tiny_bundle, lambda model: model.generate(prompt, max_tokens=6, logprobs=20), threads=1
    )
    expected = [
        [{"id": id, "logprob": value} for id, value in token.top_logprobs] for token in said.tokens
    ]
    assert len(expected) == 6
    assert result == [[threads, expected] for threads in (1, 2, 4)]
    assert site.asked(taken)
    assert not site.asked("kernel-simd")


def test_a_seed_of_all_its_bits(opened: Tab, tiny_bundle: Path) -> None:
    """More than a number of JavaScript's has."""
    text = opened.run("""
        const model = await mlr.load("/bundles/tiny/");
        const options = {maxTokens: 24, temperature: 1, seed: 2n ** 64n - 7n};
        const {text} = await model.generate("hello", options);
        await model.close();
        return text;
    """)
    options: dict[str, Any] = {"max_tokens": 24, "temperature": 1.0, "seed": 2**64 - 7}
    assert text == natively(tiny_bundle, lambda model: model.generate("hello", **options).text)


def test_weights_that_came_early_are_used_only_as_python_wants_them(
    opened: Tab, tiny_bundle: Path
) -> None:
    """An option that JavaScript does not know makes Python ask for another kernel."""
    result = opened.run("""
        const found = [];
        for (const options of [{}, {sequences: 3}]) {
            const model = await mlr.load("/bundles/tiny/", {contextLength: 200, ...options});
            const {tokenIds} = await model.generate("hello", {maxTokens: 10});
            found.push({tokenIds, cache: model.info.memory.kvCache});
            await model.close();
        }
        return found;
    """)
    expected = natively(
        tiny_bundle, lambda model: model.generate("hello", max_tokens=10), context_length=200
    )
    assert [one["tokenIds"] for one in result] == [expected.token_ids] * 2
    assert result[1]["cache"] > 2.9 * result[0]["cache"]  # each area is rounded up by itself


def test_leaving_the_loop_stops_the_engine(opened: Tab) -> None:
    result = opened.run("""
        const model = await mlr.load("/bundles/tiny/");
        const stream = model.stream("hello", {maxTokens: 1000, temperature: 1, seed: 1});
        let count = 0;
        for await (const _ of stream) if (++count === 3) break;
        const {done} = await stream.next();
        const next = await model.generate("hello", {maxTokens: 2});
        await model.close();
        return {count, done, completion: stream.completion, next: next.tokenIds.length};
    """)
    assert result == {"count": 3, "done": True, "completion": None, "next": 2}


def test_generations_wait_for_their_turn(opened: Tab) -> None:
    result = opened.run("""
        const model = await mlr.load("/bundles/tiny/");
        const prompts = ["one", "two", "one"];
        const all = await Promise.all(prompts.map((p) => model.generate(p, {maxTokens: 8})));
        await model.close();
        return all.map((completion) => completion.tokenIds);
    """)
    assert result[0] == result[2]
    assert result[0] != result[1]


@pytest.mark.parametrize(
    ("call", "name", "part"),
    [
        ("generate('x', {maxTokens: 0})", "RequestError", "max_tokens"),
        ("generate('x', {maxTokens: 1.5})", "RequestError", "max_tokens"),
        ("generate('x', {temperature: -1})", "RequestError", "temperature"),
        ("generate('x', {colour: 1})", "RequestError", "colour"),
        ("generate([1, 99999], {})", "RequestError", "99999"),
        ("generate('word '.repeat(600))", "ContextLengthError", "context"),
        ("stream('x', {topP: 2}).next()", "RequestError", "top_p"),
    ],
)
def test_wrong_arguments(opened: Tab, call: str, name: str, part: str) -> None:
    result = opened.run(
        "globalThis.kept ??= await mlr.load('/bundles/tiny/'); return await kept." + call
    )
    assert result["error"] == name
    assert part in result["message"]


def test_a_closed_model_says_so(opened: Tab) -> None:
    result = opened.run("""
        const model = await mlr.load("/bundles/tiny/");
        const long = model.generate("hello", {maxTokens: 1000, temperature: 1, seed: 3})
          .catch((error) => error);
        await model.close();
        await model.close();
        const late = await model.generate("hello").catch((error) => error);
        return [late.name, late.message, (await long).name];
    """)
    assert result[0] == result[2] == "EngineError"
    assert "closed" in result[1]


def test_a_stream_whose_model_is_closed_says_so(opened: Tab) -> None:
    result = opened.run("""
        const model = await mlr.load("/bundles/tiny/", {threads: 2});
        const stream = model.stream("hello", {maxTokens: 1e6});
        await stream.next();
        const closing = model.close();
        try {
          for await (const token of stream) if (token.id < 0) break;
          return "it ended";
        } catch (error) {
          return [error.name, error.code, stream.completion];
        } finally {
          await closing;
        }
    """)
    assert result == ["EngineError", "engine", None]


def test_too_little_memory_is_refused_before_the_download(opened: Tab, site: Site) -> None:
    opened.run("await mlr.cache.clear('tiny')")
    result = opened.run("return await mlr.load('/bundles/tiny/', {memoryLimit: 1e6})")
    assert result["error"] == "CapacityError"
    assert "KV cache" in result["message"]
    assert site.asked("/shards/") == []


def test_a_thread_that_does_not_start(opened: Tab, site: Site) -> None:
    site.texts["/thread.js"] = b"throw new Error('no such thing here');"
    result = opened.run("return await mlr.load('/bundles/tiny/', {threads: 2})")
    assert result["error"] == "EngineError"
    assert "no such thing here" in result["message"]
    del site.texts["/thread.js"]
    again = opened.run("""
        const model = await mlr.load("/bundles/tiny/", {threads: 2});
        await model.close();
        return model.info.threads;
    """)
    assert again == 2


def test_a_thread_that_fails_while_computing(opened: Tab, site: Site, built_page: Path) -> None:
    """A thread whose kernel traps; the call that waits for it ends with an error."""
    script = (built_page / "thread.js").read_bytes()
    broken = b"""
        const real = WebAssembly.Instance;
        WebAssembly.Instance = function (...given) {
          const {exports} = new real(...given);
          return {exports: {...exports, mlr_worker() { throw new WebAssembly.RuntimeError("x"); }}};
        };
    """
    site.texts["/thread.js"] = broken + script
    result = opened.run("""
        globalThis.broken = await mlr.load("/bundles/tiny/", {threads: 2});
        return await broken.generate("hello", {maxTokens: 4});
    """)
    assert result["error"] == "EngineError"
    assert "load the model again" in result["message"]


@pytest.mark.parametrize("what", ["newer", "outside", "damaged"])
def test_manifests_that_are_refused(opened: Tab, site: Site, tiny_bundle: Path, what: str) -> None:
    manifest = json.loads((tiny_bundle / "manifest.json").read_bytes())
    if what == "newer":
        manifest["schema_version"] = 99
    elif what == "outside":
        manifest["tokenizer"]["file"] = "../secret"
    site.texts["/bundles/tiny/manifest.json"] = (
        b"{" if what == "damaged" else json.dumps(manifest).encode()
    )
    result = opened.run("return await mlr.load('/bundles/tiny/')")
    assert result["error"] == "ManifestError"
    assert "manifest.json" in result["message"]


def test_no_bundle_there(opened: Tab, site: Site) -> None:
    site.missing.add("/bundles/nothing/manifest.json")
    result = opened.run("return await mlr.load('/bundles/nothing/')")
    opened.complaints.clear()  # Chromium's own line about the 404
    assert result["error"] == "FetchError"
    assert "404" in result["message"]


def test_a_progress_function_that_fails(opened: Tab) -> None:
    result = opened.run("""
        const fail = () => { throw new RangeError("no such bar"); };
        return await mlr.load("/bundles/tiny/", { onProgress: fail });
    """)
    assert (result["error"], result["message"]) == ("RangeError", "no such bar")


def test_an_aborted_load(opened: Tab) -> None:
    result = opened.run("""
        const controller = new AbortController();
        const loading = mlr.load("/bundles/tiny/", {
          signal: controller.signal,
          onProgress: () => controller.abort(new Error("enough")),
        });
        return await loading;
    """)
    assert result["message"] == "enough"
