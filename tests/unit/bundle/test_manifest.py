from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from importlib.resources import files
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlr.bundle.manifest import LATER_FIELDS, Manifest
from mlr.bundle.manifest_reader import parse_manifest
from mlr.errors import LoadError, ManifestError, UnsupportedModelError
from mlr.formats.model_config import ModelConfig

SCHEMA = json.loads(files("mlr.bundle").joinpath("manifest.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

Json = dict[str, Any]


@pytest.fixture
def data(manifest: Manifest) -> Json:
    """The manifest as JSON that a test may change."""
    return copy.deepcopy(json.loads(manifest.encode()))


def parse(data: Any) -> Manifest:
    return parse_manifest(json.dumps(data).encode(), "m.json")


def at(data: Any, path: str) -> tuple[Any, Any]:
    """The container and the key that a path such as `variants.0.size` leads to."""
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        data = data[part]
    return data, last


def test_a_manifest_survives_the_way_through_json(manifest: Manifest, data: Json) -> None:
    assert parse(data) == manifest
    assert parse(data).encode() == manifest.encode()
    VALIDATOR.validate(data)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


# Changes of one value that the JSON Schema can express, each of which both must refuse.
WRONG_VALUES: list[tuple[str, Any]] = [
    ("schema", "https://example.org/other"),
    ("schema_version", 0),
    ("schema_version", "1"),
    ("schema_version", True),
    ("name", ""),
    ("name", "../evil"),
    ("name", 5),
    ("task", "draw"),
    ("parameters", 0),
    ("parameters", -1),
    ("parameters", 1.5),
    ("parameters", True),
    ("context_length", 2**40),
    ("license", None),
    ("license.url", "javascript:alert(1)"),
    ("license.notice", "x" * 10_000),
    ("license.files", ["../LICENSE"]),
    ("origin.sha256", "A" * 64),
    ("origin.sha256", "a" * 63),
    ("origin.version", 1),
    ("tokenizer.format", "sentencepiece"),
    ("tokenizer.size", -1),
    ("tokenizer.size", 2**40),
    *(
        ("tokenizer.file", path)
        for path in (
            *("../tokenizer.json", "/etc/passwd", "a/../b", "a//b", "a\\b", "C:/x", "a\0b", ""),
            *(".", "..", "a/.", "./a", "a/", ".hidden", "x" * 300, "a b", "tést", 7),
        )
    ),
    ("chat_template", "x"),
    ("chat_template", {"file": "t.jinja"}),
    ("tokenizer_json", "x"),
    ("tokenizer_json.sha256", "0"),
    ("special_tokens", []),
    ("special_tokens.eos", 2),
    ("special_tokens.eos", {"id": -1, "text": ""}),
    ("special_tokens.eos", {"id": 1, "text": None}),
    ("special_tokens.ends", 1),
    ("special_tokens.ends", [True]),
    ("special_tokens.before", [-1]),
    ("special_tokens.after", ["</s>"]),
    ("embedding", []),
    ("embedding", {"max_tokens": 0, "prompts": {}, "default_prompt": None}),
    ("embedding", {"max_tokens": 5, "prompts": {"a": 1}, "default_prompt": None}),
    ("embedding", {"max_tokens": 5, "prompts": {}, "default_prompt": 1}),
    ("files", {}),
    ("files", [{"file": "f", "size": 1, "sha256": "0"}]),
    ("variants", []),
    ("variants.0.id", "a/b"),
    ("variants.0.format", "onnx"),
    ("variants.0.quantization", "Q4 K"),
    ("variants.0.engines", []),
    ("variants.0.engines", ["Kernel!"]),
    ("variants.0.size", 0),
    ("variants.0.size", 2**60),
    ("variants.0.chunk_size", 1000),
    ("variants.0.chunk_size", 2**21),
    ("variants.0.chunk_size", 2**11),
    ("variants.0.data_offset", -1),
    ("variants.0.shards", []),
    ("variants.0.shards.0.size", 0),
    ("variants.0.shards.0.chunks", []),
    ("variants.0.shards.0.chunks.0", "0" * 63 + "g"),
    ("variants.0.shards.0.file", "shards/../manifest.json"),
    ("variants.0.shards.0.sha256", 5),
    ("variants.0.config", []),
    ("variants.0.config.architecture", "mamba"),
    ("variants.0.config.n_layers", 0),
    ("variants.0.config.n_layers", "2"),
    ("variants.0.config.norm_epsilon", None),
    ("variants.0.config.rope_style", "other"),
    ("variants.0.config.gated", 1),
    ("variants.0.config.pooling", "max"),
    ("variants.0.config.n_experts", -1),
    ("variants.0.config.logit_scale", 0),
    ("variants.0.tensors", []),
    ("variants.0.tensors.0.name", 1),
    ("variants.0.tensors.0.shape", []),
    ("variants.0.tensors.0.shape", [1, 1, 1, 1, 1]),
    ("variants.0.tensors.0.shape", [0]),
    ("variants.0.tensors.0.shape", [True]),
    ("variants.0.tensors.0.offset", -1),
    ("variants.0.tensors.0.size", 0),
]


@pytest.mark.parametrize(("path", "value"), WRONG_VALUES)
def test_schema_and_parser_refuse_the_same_values(data: Json, path: str, value: Any) -> None:
    container, key = at(data, path)
    container[key] = value
    assert not VALIDATOR.is_valid(data)
    with pytest.raises((ManifestError, UnsupportedModelError)) as caught:
        parse(data)
    if isinstance(caught.value, ManifestError):
        assert str(caught.value).startswith("m.json: ")


def objects(data: Any, path: str = "") -> list[str]:
    """The paths of all objects, one of each list's."""
    found = [path] if isinstance(data, dict) else []
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list):
        items = dict(enumerate(data[:1])).items()
    else:
        return []
    for key, value in items:
        found += objects(value, f"{path}.{key}" if path else str(key))
    return found


def object_at(data: Json, path: str) -> Json:
    """The object that one of the paths of `objects` leads to; the empty path, to all of it."""
    if not path:
        return data
    container, key = at(data, path)
    found: Json = container[key]
    return found


def test_schema_and_parser_know_the_same_fields(data: Json) -> None:
    """Every field of every object is required, and none besides is taken.

    What has a default may be missing: it came later than some manifests.
    """
    defaults = {
        path: {field.name for field in fields(kind) if field.default is not MISSING}
        for path, kind in (("", Manifest), ("variants.0.config", ModelConfig))
    }
    data["chat_template"] = {"file": "t.jinja", "size": 1, "sha256": "0" * 64}
    data["files"] = [{"file": "LICENSE", "size": 1, "sha256": "0" * 64}]
    data["special_tokens"]["bos"] = {"id": 1, "text": "<s>"}
    VALIDATOR.validate(data)
    parse(data)
    paths = objects(data)
    assert {"special_tokens.bos", "tokenizer_json"} < {*paths}
    for path in paths:
        for name in object_at(data, path).keys() - defaults.get(path, set()):
            changed = copy.deepcopy(data)
            del object_at(changed, path)[name]
            assert not VALIDATOR.is_valid(changed), (path, name)
            with pytest.raises(ManifestError):
                parse(changed)
        changed = copy.deepcopy(data)
        object_at(changed, path)["surprise"] = 1
        assert not VALIDATOR.is_valid(changed), path
        with pytest.raises(ManifestError, match="surprise: is not a known field"):
            parse(changed)


def change(path: str, value: Any) -> Callable[[Json], None]:
    def apply(data: Json) -> None:
        container, key = at(data, path)
        container[key] = value

    return apply


def grow(path: str, by: int) -> Callable[[Json], None]:
    def apply(data: Json) -> None:
        container, key = at(data, path)
        container[key] += by

    return apply


def repeat_tensor(data: Json) -> None:
    data["variants"][0]["tensors"].append(data["variants"][0]["tensors"][0])


def drop_tensor(data: Json) -> None:
    del data["variants"][0]["tensors"][-1]


def rename_tensor(data: Json) -> None:
    data["variants"][0]["tensors"][-1]["name"] = "other.weight"


def swap_tensor_shape(data: Json) -> None:
    tensor = next(t for t in data["variants"][0]["tensors"] if len(t["shape"]) == 2)
    tensor["shape"] = tensor["shape"][::-1]


def overlap_tensors(data: Json) -> None:
    ordered = sorted(data["variants"][0]["tensors"], key=lambda tensor: tensor["offset"])
    ordered[1]["offset"] = ordered[0]["offset"]


def quantize_tensor(data: Json) -> None:
    tensor = next(t for t in data["variants"][0]["tensors"] if len(t["shape"]) == 2)
    rows, columns = tensor["shape"]
    tensor["type"], tensor["size"] = "IQ2_XXS", rows * columns // 256 * 66


def repeat_variant(data: Json) -> None:
    data["variants"].append(data["variants"][0])


ENTRY = {"file": "licenses/NOTICE", "size": 1, "sha256": "0" * 64}

# What the schema cannot express: fields that contradict each other.
CONTRADICTIONS: dict[str, tuple[Callable[[Json], None], str]] = {
    "sizes do not add up": (grow("variants.0.size", 1), "the shards have"),
    "a shard with too few chunks": (grow("variants.0.shards.0.size", 2**18), "must have 2 items"),
    "a shard of no whole chunks": (grow("variants.0.shards.0.size", -1), "not a multiple of chunk"),
    "a shard under another name": (
        change("variants.0.shards.0.sha256", "0" * 64),
        "must be shards/ and the shard's SHA-256",
    ),
    "a tensor twice": (repeat_tensor, "a name is there twice"),
    "a tensor missing": (drop_tensor, "is missing"),
    "a tensor too many": (rename_tensor, "is missing|not a tensor of"),
    "a tensor of another shape": (swap_tensor_shape, "must have the shape"),
    "tensors that overlap": (overlap_tensors, "overlaps what lies before"),
    "a tensor before the data": (change("variants.0.tensors.0.offset", 0), "overlaps"),
    "a tensor after the end": (grow("variants.0.tensors.0.offset", 2**40), "ends after the file"),
    "a tensor of another size": (grow("variants.0.tensors.0.size", 4), "takes"),
    "a tensor of an unknown type": (change("variants.0.tensors.0.type", "Q9"), "not a known tenso"),
    "a type that the kernel lacks": (quantize_tensor, "the kernel does not compute with IQ2_XXS"),
    "a variant twice": (repeat_variant, "an id is there twice"),
    "another architecture": (change("architecture", "gemma3"), "differs from that of variant"),
    "heads that do not divide": (change("variants.0.config.n_kv_heads", 3), "does not divide"),
    "a licence that is not there": (change("license.files", ["LICENSE"]), "not among the bundle's"),
    "a file over the manifest": (change("tokenizer.file", "Manifest.JSON"), "the bundle itself"),
    "a file among the shards": (change("tokenizer.file", "shards/tokenizer"), "the bundle itself"),
    "a path twice": (change("files", [ENTRY, {**ENTRY, "file": "Licenses/notice"}]), "there twice"),
}


@pytest.mark.parametrize("title", CONTRADICTIONS)
def test_contradictions(data: Json, title: str) -> None:
    apply, message = CONTRADICTIONS[title]
    apply(data)
    with pytest.raises(ManifestError, match=message):
        parse(data)


@pytest.mark.parametrize("version", [3, 99])
def test_a_newer_schema_asks_to_upgrade(data: Json, version: int) -> None:
    """Before anything else is looked at: all the rest may be different there."""
    newer = {"schema": data["schema"], "schema_version": version, "whatever": True}
    with pytest.raises(
        ManifestError, match=f"has version {version} and this mlr reads up to 2; up"
    ):
        parse(newer)


def test_the_first_version_is_read(data: Json) -> None:
    """It says nothing of a tokenizer.json and of special tokens."""
    data["schema_version"] = 1
    for name in LATER_FIELDS:
        del data[name]
    VALIDATOR.validate(data)
    manifest = parse(data)
    assert manifest.tokenizer_json is None
    assert manifest.special_tokens is None


def test_an_architecture_that_is_not_known_names_those_that_are(data: Json) -> None:
    data["architecture"] = data["variants"][0]["config"]["architecture"] = "mamba"
    with pytest.raises(UnsupportedModelError, match="'mamba' is not supported; supported: arcee"):
        parse(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[]", "this is not an mlr bundle"),
        (b"null", "this is not an mlr bundle"),
        (b'{"a":1,"a":2}', "a key is there twice"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "is not JSON"),
        (b'{"a":"\\ud800"}', "is not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' + b"9" * 5000 + b"}", "is not valid JSON"),
    ],
)
def test_json_that_is_none(text: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(text, "m.json")


def test_a_manifest_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlr.bundle.manifest_reader.MAX_MANIFEST_BYTES", 10)
    with pytest.raises(ManifestError, match="is larger than 10 bytes"):
        parse_manifest(b" " * 11, "m.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_any_value_anywhere_gives_a_manifest_or_an_error(
    manifest: Manifest, data: st.DataObject
) -> None:
    changed = json.loads(manifest.encode())
    place: Any = changed
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], (dict, list)) and data.draw(st.integers(0, 3)):
            place = place[key]
            continue
        place[key] = data.draw(json_values)
        break
    try:
        parse_manifest(json.dumps(changed).encode(), "m.json")
    except LoadError:
        return
    VALIDATOR.validate(changed)  # whatever the parser takes, the schema takes


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0), value=st.integers(0, 255))
def test_a_flipped_byte_gives_a_manifest_or_an_error(
    manifest: Manifest, place: int, value: int
) -> None:
    text = bytearray(manifest.encode())
    text[place % len(text)] = value
    try:
        parse_manifest(bytes(text), "m.json")
    except LoadError:
        return
