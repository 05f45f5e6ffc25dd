"""Generations held to schemas and grammars, and log probabilities, with models that really run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import numpy as np
import pytest

import mlr
from mlr.errors import GenerationError, GrammarError, RequestError
from mlr.grammar.constraint import Constrainer, Constraint
from mlr.session import Session
from mlr.tokenizer import load_tokenizer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "colour": {"enum": ["red", "green", "blue"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 3},
        "address": {
            "type": "object",
            "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["zip"],
        },
    },
    "required": ["name", "age", "colour", "tags", "address"],
}
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "person", "schema": PERSON, "strict": True},
}


def grammar(source: str) -> dict[str, str]:
    return {"type": "grammar", "grammar": source}


@pytest.mark.parametrize("engine", ["kernel", "reference"])
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_a_schema_holds_whatever_the_model_says(
    tiny_bundle: Path, engine: str, temperature: float
) -> None:
    """The weights are random, so without a mask no text would be JSON."""
    with mlr.load_sync(tiny_bundle, engine=engine) as model:
        for seed in range(4):
            options: dict[str, Any] = {"temperature": temperature, "seed": seed}
            completion = model.generate(
                "Someone: ", max_tokens=600, response_format=FORMAT, **options
            )
            assert completion.finish_reason == "stop"
            jsonschema.validate(json.loads(completion.text), PERSON)
        # the mask is gone afterwards
        free = model.generate("Someone: ", max_tokens=10, **options)
        assert free.token_ids == model.generate("Someone: ", max_tokens=10, **options).token_ids
        assert not free.text.startswith("{")


def test_a_grammar_ends_the_generation(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle) as model:
        for source, texts in (
            ('root ::= "yes" | "no"', {"yes", "no"}),
            ('root ::= "世界" [😀-😎]', {"世界" + chr(code) for code in range(0x1F600, 0x1F60F)}),
        ):
            completion = model.generate("?", max_tokens=50, response_format=grammar(source))
            assert completion.text in texts
            assert completion.finish_reason == "stop"
            assert completion.stop_sequence is None
        empty = model.generate("?", response_format=grammar('root ::= ""'))
        assert (empty.text, empty.token_ids, empty.finish_reason) == ("", [], "stop")
        cut = model.generate("?", max_tokens=5, response_format=grammar("root ::= [a-z]{50}"))
        assert (cut.finish_reason, len(cut.token_ids)) == ("length", 5)
        stopped = model.generate("?", response_format=grammar('root ::= "abcdef"'), stop=["cd"])
        assert (stopped.text, stopped.stop_sequence) == ("ab", "cd")


def test_the_end_token_is_chosen_where_the_text_may_end(tiny_bundle: Path) -> None:
    """Greedy generation of one character: the likelier of the end token and that character."""
    with mlr.load_sync(tiny_bundle) as model:
        completion = model.generate(
            "?", max_tokens=400, temperature=1.5, seed=3, response_format=grammar('root ::= "a"*')
        )
        assert set(completion.text) <= {"a"}
        assert completion.finish_reason == "stop"


def test_text_is_no_constraint(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle) as model:
        free = model.generate("hello", max_tokens=8).token_ids
        for asked in (None, {"type": "text"}):
            assert model.generate("hello", max_tokens=8, response_format=asked).token_ids == free


@pytest.mark.parametrize(
    ("response_format", "message"),
    [
        ("json", "must be an object with a type"),
        ({}, "must be an object with a type"),
        ({"type": ["text"]}, "must be an object with a type"),
        ({"type": "xml"}, "must be an object with a type"),
        ({"type": "text", "schema": {}}, "unknown field 'schema'"),
        ({"type": "json_schema"}, "must be"),
        ({"type": "json_schema", "json_schema": {"schema": {}, "x": 1}}, "unknown field 'x'"),
        ({"type": "json_schema", "json_schema": {"schema": {"not": {}}}}, "'not' is not supported"),
        ({"type": "grammar"}, "as a string"),
        ({"type": "grammar", "grammar": "root ::= ("}, "line 1"),
        ({"type": "json_schema", "json_schema": {"schema": {1, 2}}}, "must be JSON"),
    ],
)
def test_wrong_formats_are_refused_at_once(
    tiny_bundle: Path, response_format: Any, message: str
) -> None:
    with mlr.load_sync(tiny_bundle) as model:
        with pytest.raises(RequestError, match=message):
            model.stream("hello", response_format=response_format)
        with pytest.raises(RequestError, match=message):
            model._model.check_format(response_format)


def test_a_grammar_that_becomes_too_ambiguous_is_an_error(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle) as model:
        source = 'root ::= ([a-z]{1,900}){1,900} "0"'
        with pytest.raises(GrammarError, match=r"ambiguous|too long"):
            model.generate("hello", max_tokens=200, response_format=grammar(source))
        assert model.generate("hello", max_tokens=2).token_ids


def test_a_vocabulary_without_the_token_is_an_error() -> None:
    tokenizer_json = {
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "?": 2}, "unk_token": "?"},
        "added_tokens": [],
        "decoder": {"type": "Fuse"},
    }
    tokenizer = load_tokenizer("huggingface", json.dumps(tokenizer_json).encode())
    constraint = Constrainer(tokenizer, 3).start(grammar('root ::= "a" "c"'))
    assert constraint is not None
    constraint.advance(0)
    with pytest.raises(GenerationError, match="no token of the model's vocabulary"):
        constraint.mask()


def test_the_tag_of_a_call_is_the_token_that_it_is() -> None:
    """It is no part of other texts, in which it would not be seen."""
    words = ["[TOOL_CALLS]", "[", "t", "{}", "</s>", "?", "[TOOL_", "CALLS]"]
    special = {"special": True, "single_word": False, "lstrip": False, "rstrip": False}
    tokenizer_json = {
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(words)},
            "unk_token": "?",
        },
        "added_tokens": [
            {"id": number, "content": words[number], "normalized": False, **special}
            for number in (0, 4)
        ],
        "decoder": {"type": "Fuse"},
    }
    tokenizer = load_tokenizer("huggingface", json.dumps(tokenizer_json).encode())
    constrainer = Constrainer(tokenizer, len(words))

    def allowed(constraint: Constraint | None) -> list[str]:
        assert constraint is not None
        bits = int.from_bytes(constraint.mask(), "little")
        return [word for number, word in enumerate(words) if bits >> number & 1]

    asked = {"type": "tool_call", "functions": [{"name": "t"}], "form": "mistral-named"}
    must = constrainer.start(asked | {"required": True})
    assert must is not None
    assert allowed(must) == ["[TOOL_CALLS]"]
    shown = tokenizer.stream(shown=must.marks)
    text = ""
    for word in ("[TOOL_CALLS]", "t", "{}"):
        must.advance(words.index(word))
        text += shown.push(words.index(word))
    assert text == "[TOOL_CALLS]t{}"
    may = constrainer.start(asked)
    assert "[TOOL_CALLS]" in allowed(may)
    assert "[" in allowed(may)
    assert may is not None
    for word in ("[TOOL_", "CALLS]"):  # spelled, it is the tag as well
        may.advance(words.index(word))
    assert allowed(may) == ["t"]
    assert "[TOOL_CALLS]" not in allowed(constrainer.start(grammar("root ::= .*")))


@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_log_probabilities(tiny_bundle: Path, engine: str) -> None:
    with mlr.load_sync(tiny_bundle, engine=engine) as model:
        stream = model.stream("hello", max_tokens=6, temperature=1.5, seed=1, logprobs=4)
        tokens = list(stream)
        completion = stream.completion
        assert completion is not None
        assert [token.id for token in completion.tokens] == completion.token_ids
        alone = model.generate("hello", max_tokens=3, logprobs=0).tokens
        assert all(token.logprob is not None and token.top_logprobs == () for token in alone)
        without = model.generate("hello", max_tokens=3).tokens
        assert all(token.logprob is None for token in without)
        # nothing runs any more, so the engine is free to be asked for every row
        oracle, context = model._model.engine, model.tokenize("hello")
        for token in tokens:
            oracle.truncate(0)
            oracle.evaluate(context)
            logits = np.array(oracle.logits(), np.float64)
            expected = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
            best = np.lexsort((np.arange(logits.size), -logits))[:4]
            assert [id for id, _ in token.top_logprobs] == best.tolist()
            # float32 results of sums whose terms have a relative error of 2e-7
            np.testing.assert_allclose(
                [v for _, v in token.top_logprobs], expected[best], atol=1e-5
            )
            assert token.logprob == pytest.approx(expected[token.id], abs=1e-5)
            context.append(token.id)


def test_log_probabilities_are_the_model_s_own(tiny_bundle: Path) -> None:
    """A mask, a penalty or a temperature does not change them."""
    with mlr.load_sync(tiny_bundle) as model:
        free = model.generate("hello", max_tokens=1, logprobs=20).tokens[0]
        held = model.generate(
            "hello",
            max_tokens=1,
            logprobs=20,
            temperature=0.5,
            repeat_penalty=1.5,
            response_format=grammar('root ::= "x"'),
        ).tokens[0]
        assert held.top_logprobs == free.top_logprobs
        assert held.text == "x"
        assert held.logprob is not None
        assert free.logprob is not None
        assert held.logprob < free.logprob


@pytest.mark.parametrize("logprobs", [-1, 21, True, 1.5, "1"])
def test_a_wrong_number_of_log_probabilities(tiny_bundle: Path, logprobs: Any) -> None:
    with mlr.load_sync(tiny_bundle) as model, pytest.raises(RequestError, match="logprobs"):
        model.generate("hello", logprobs=logprobs)


def test_the_page_gets_both(tiny_bundle: Path) -> None:
    import asyncio

    async def run() -> dict[str, Any]:
        session = Session()
        await session.load(str(tiny_bundle), "{}", lambda *_: None)
        options = {"max_tokens": 20, "logprobs": 2, "response_format": grammar('root ::= "yes"')}
        answer = await session.generate(1, '"hello"', json.dumps(options), None)
        await session.close()
        return json.loads(answer)["value"]  # type: ignore[no-any-return]

    value = asyncio.run(run())
    assert value["text"] == "yes"
    assert "".join(token["text"] for token in value["tokens"]) == "yes"
    for token in value["tokens"]:
        assert token["logprob"] < 0
        first, second = token["topLogprobs"]
        assert first["logprob"] >= second["logprob"]
        assert math.isfinite(second["logprob"])


@pytest.mark.timeout(180)
@pytest.mark.parametrize("engine", ["kernel", "reference"])
def test_the_demo_model_writes_json(demo_bundle: Path, engine: str) -> None:
    options: dict[str, Any] = {} if engine == "kernel" else {"context_length": 256}
    with mlr.load_sync(demo_bundle, engine=engine, **options) as model:
        prompt = "Alice is 30 years old, likes blue, and lives in 12345 Springfield.\nAs JSON: "
        completion = model.generate(prompt, max_tokens=100, response_format=FORMAT, logprobs=1)
    person = json.loads(completion.text)
    jsonschema.validate(person, PERSON)
    assert person["name"].startswith("Alice")
    assert person["age"] == 30
    assert completion.finish_reason == "stop"
