"""Loading: what a model says of itself, refusals before anything is fetched, closing."""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
import http.server
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlr
from mlr.bundle.manifest_reader import parse_manifest
from mlr.engines.kernel.opening import plan_variant
from mlr.errors import (
    BundleError,
    CapacityError,
    EngineError,
    ManifestError,
    MlrError,
    RequestError,
)
from mlr.hosts import current


def test_info_says_what_was_loaded(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle, threads=2, context_length=100) as model:
        info = model.info
        assert (info.engine, info.threads, info.context_length) == ("kernel", 2, 100)
        assert "2 threads" in info.engine_detail
        assert info.memory.total > info.memory.weights > 0
        assert info.vocabulary_size == model.tokenizer.vocabulary_size


def test_thread_counts_give_the_same_tokens(tiny_bundle: Path) -> None:
    texts = set()
    for threads in (1, 2, 4):
        with mlr.load_sync(tiny_bundle, threads=threads) as model:
            texts.add(model.generate("hello", max_tokens=32, temperature=1.0, seed=1).text)
    assert len(texts) == 1


def test_a_model_that_cannot_fit_is_refused_with_the_numbers(tiny_bundle: Path) -> None:
    variant = parse_manifest((tiny_bundle / "manifest.json").read_bytes(), "tiny").variants[0]
    fits = asyncio.run(plan_variant(variant, current(), 1, 2048)).total_bytes
    pattern = r"needs .* \(weights .*, KV cache .* for 4096 tokens, scratch .* allows"
    options = {"context_length": 4096, "threads": 1}
    with pytest.raises(CapacityError, match=pattern + r".* no context length makes it fit"):
        mlr.load_sync(tiny_bundle, memory_limit=1000, **options)
    with pytest.raises(CapacityError, match=pattern + r".* a context of 2048 tokens would fit"):
        mlr.load_sync(tiny_bundle, memory_limit=fits, **options)
    options["context_length"] = 2048
    mlr.load_sync(tiny_bundle, memory_limit=fits, **options).close()


@pytest.mark.parametrize(
    "options",
    [
        {"context_length": 0},
        {"context_length": 10**9},
        {"threads": 0},
        {"threads": 65},
        {"engine": "cuda"},
    ],
)
def test_wrong_arguments_are_refused(tiny_bundle: Path, options: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        mlr.load_sync(tiny_bundle, **options)


def test_a_folder_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(MlrError, match="manifest"):
        mlr.load_sync(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ManifestError):
        mlr.load_sync(tmp_path)


def test_a_chat_template_that_is_no_text(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    shutil.copytree(tiny_bundle, bundle)
    data = b"{{ messages }} \xff"
    (bundle / "template").write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_text("utf-8"))
    digest = hashlib.sha256(data).hexdigest()
    manifest["chat_template"] = {"file": "template", "size": len(data), "sha256": digest}
    (bundle / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(BundleError, match="template: is not UTF-8: byte 15"):
        mlr.load_sync(bundle)


def test_a_closed_model_says_so(tiny_bundle: Path) -> None:
    async def run() -> None:
        model = await mlr.load(tiny_bundle)
        await model.close()
        await model.close()
        with pytest.raises(EngineError, match="closed"):
            await model.generate("hello")

    asyncio.run(run())


def test_the_blocking_face_refuses_a_running_loop(tiny_bundle: Path) -> None:
    model = mlr.load_sync(tiny_bundle)

    async def run() -> None:
        with pytest.raises(RequestError, match="running event loop"):
            mlr.load_sync(tiny_bundle)
        with pytest.raises(RequestError, match="running event loop"):
            model.generate("hello")

    asyncio.run(run())
    assert model.generate("hello", max_tokens=1).token_ids
    model.close()


def test_progress_reaches_the_end(tiny_bundle: Path) -> None:
    seen: list[mlr.LoadProgress] = []
    mlr.load_sync(tiny_bundle, on_progress=seen.append).close()
    assert seen
    assert seen[-1].done == seen[-1].total
    assert [p.done for p in seen] == sorted(p.done for p in seen)


def test_events_tell_a_models_life_in_order(tiny_bundle: Path) -> None:
    seen: list[mlr.Event] = []
    progress: list[mlr.LoadProgress] = []
    model = mlr.load_sync(tiny_bundle, on_event=seen.append, on_progress=progress.append)
    completion = model.generate("hello", max_tokens=3)
    model.close()
    model.close()
    kinds = [type(event) for event in seen]
    tokens = [mlr.Token] * len(completion.token_ids)
    after = [mlr.Loaded, *tokens, mlr.Completion, mlr.Unloaded]
    assert kinds == [mlr.LoadProgress] * len(progress) + after
    assert seen[: len(progress)] == progress != []
    assert seen[-2] is completion


def test_the_reference_engine_agrees_on_a_greedy_start(tiny_bundle: Path) -> None:
    with (
        mlr.load_sync(tiny_bundle) as kernel,
        mlr.load_sync(tiny_bundle, engine="reference") as ref,
    ):
        assert ref.info.engine == "reference"
        assert kernel.generate("hello", max_tokens=1).token_ids == (
            ref.generate("hello", max_tokens=1).token_ids
        )


def test_a_process_that_forgets_to_close_ends_all_the_same(tiny_bundle: Path) -> None:
    code = (
        "import mlr, sys\n"
        f"model = mlr.load_sync({str(tiny_bundle)!r}, threads=2)\n"
        "print(len(model.generate('hello', max_tokens=4).token_ids))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "4"


OUT_OF_MEMORY = """
import resource, sys, mlr, mlr.errors

def say():
    with mlr.load_sync(sys.argv[1], threads=2, context_length=200) as model:
        return model.generate([1, 2, 3], max_tokens=3).token_ids

said, (_, hard) = say(), resource.getrlimit(resource.RLIMIT_AS)
with open("/proc/self/statm") as numbers:
    used = int(numbers.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), hard))
try:
    say()
except mlr.errors.CapacityError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
assert say() == said
print("loaded again")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_that_the_system_refuses(tiny_bundle: Path) -> None:
    """An error of ours; with room again the model is loaded in the same process."""
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(tiny_bundle)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert "could not be reserved" in run.stdout
    assert run.stdout.endswith("loaded again\n")


def test_fetching_from_a_url_reports_both_stages(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLR_CACHE", str(tmp_path))
    handler = functools.partial(QuietHandler, directory=str(tiny_bundle))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    seen: list[mlr.LoadProgress] = []
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        with mlr.load_sync(url, on_progress=seen.append) as model:
            text = model.generate("hello", max_tokens=4).text
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    for stage in ("fetch", "load"):
        done = [p.done for p in seen if p.stage == stage]
        assert done == sorted(done) != []
    with mlr.load_sync(tiny_bundle) as model:
        assert model.generate("hello", max_tokens=4).text == text


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_prompts_of_a_wrong_kind(tiny_bundle: Path) -> None:
    """They are the caller's fault, and the model goes on."""
    with mlr.load_sync(tiny_bundle) as model:
        prompts: list[Any] = [None, 5, [1.5], ["a"], [None], {"messages": []}, b"a text"]
        for prompt in prompts:
            with pytest.raises(RequestError, match="a prompt must be a text or token ids"):
                model.generate(prompt, max_tokens=2)
        ids: Any = np.array([3, 4, 5])
        expected = model.generate([3, 4, 5], max_tokens=2).token_ids
        assert model.generate(ids, max_tokens=2).token_ids == expected
        for name in ("top_k", "repeat_last_n", "seed"):
            with pytest.raises(RequestError, match=f"{name} must be a whole number"):
                model.generate([3], **{name: 1.5})


@pytest.mark.parametrize("option", ["threads", "context_length", "sequences"])
@pytest.mark.parametrize("value", [0, 1.5, "2", 10**9])
def test_numbers_of_a_wrong_kind(tiny_bundle: Path, option: str, value: Any) -> None:
    with pytest.raises(RequestError, match=f"{option} must be between 1 and"):
        mlr.load_sync(tiny_bundle, **{option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"location": 5}, "a bundle's location is a folder .* or a URL, got 5"),
        ({"location": b"here"}, "a bundle's location is .* got b'here'"),
        ({"draft": 5}, "a bundle's location is .* got 5"),
        ({"thread": 2}, "no option 'thread'; the options: engine, threads, "),
        ({"memory_limit": "1 GB"}, "memory_limit must be a whole number of bytes, got '1 GB'"),
        ({"on_progress": "log"}, "on_progress must be a function, got 'log'"),
        ({"on_event": 5}, "on_event must be a function, got 5"),
    ],
)
def test_arguments_of_a_wrong_kind(
    tiny_bundle: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        mlr.load_sync(**({"location": tiny_bundle} | options))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.generate("a", maxtokens=1), "no option 'maxtokens'; .* max_tokens, "),
        (lambda model: model.stream("a", stop=5), "stop must be a string or several, got 5"),
        (lambda model: model.embed("a", normalise=True), "no option 'normalise'; .* normalize, "),
        (lambda model: model.rerank("a", ["b"], top=1), "no option 'top'; the options: "),
        (lambda model: model.tokenize(5), "only a text can be tokenized, got 5"),
        (lambda model: model.detokenize("x"), "what is detokenized must be token ids, got 'x'"),
        (lambda model: model.detokenize(5), "must be token ids, got 5"),
    ],
)
def test_calls_of_a_wrong_kind(
    tiny_bundle: Path, call: Callable[[mlr.SyncModel], Any], message: str
) -> None:
    with mlr.load_sync(tiny_bundle) as model, pytest.raises(RequestError, match=message):
        call(model)


def test_a_blocking_model_that_is_closed(tiny_bundle: Path) -> None:
    with mlr.load_sync(tiny_bundle) as model:
        stream = model.stream("hello", max_tokens=5)
        next(stream)
    with pytest.raises(EngineError, match="closed; load it again"):
        model.generate("hello")
    with pytest.raises(EngineError, match="closed; load it again"):
        next(stream)
    with pytest.raises(EngineError, match="closed; load it again"):
        model.embed("hello")


def test_a_blocking_model_used_by_several_threads(tiny_bundle: Path) -> None:
    prompts = [[1, 2, n] for n in range(3, 7)]
    with mlr.load_sync(tiny_bundle, threads=1) as model:
        expected = [model.generate(prompt, max_tokens=40).token_ids for prompt in prompts]
        with ThreadPoolExecutor(len(prompts)) as threads:
            given = threads.map(lambda prompt: model.generate(prompt, max_tokens=40), prompts)
            assert [completion.token_ids for completion in given] == expected


def test_ctrl_c_at_the_end_of_a_blocking_call(tiny_bundle: Path) -> None:
    """When there is nothing left to cancel; it must not end the next call, too."""

    def interrupt(event: object) -> None:
        if isinstance(event, mlr.Completion) and event.prompt_token_ids == [1, 2]:
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with mlr.load_sync(tiny_bundle, threads=1, on_event=interrupt) as model:
            with pytest.raises(KeyboardInterrupt):
                model.generate([1, 2], max_tokens=2)
            assert model.generate([1, 3], max_tokens=2).token_ids
            with pytest.raises(KeyboardInterrupt):
                model.generate([1, 2], max_tokens=2)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_model_that_is_dropped_unclosed_takes_no_memory(tiny_bundle: Path) -> None:
    """Its threads would hold it: they end, too."""

    def workers() -> set[threading.Thread]:
        return {item for item in threading.enumerate() if item.name.startswith("mlr-kernel")}

    async def forget() -> None:
        model = await mlr.load(tiny_bundle, threads=3)
        await model.generate("hello", max_tokens=2)

    before = workers()
    asyncio.run(forget())
    gc.collect()
    for worker in workers() - before:
        worker.join(10)
        assert not worker.is_alive()
