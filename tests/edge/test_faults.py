"""Whatever goes wrong ends in an error with a name and a code, and what can go on goes on."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.browser.site import Site, serve_site
from tests.edge.hosts import PROGRAMS, TERMINALS, ask_workerd, printed, terminal, workerd
from tests.support.bundles import package as package_bundle
from tests.support.bundles import package_embedder, with_weights

Ask = Callable[..., list[dict[str, Any]]]

# A worker of the kernel that fails at the start, and what is put before one's script so that it
# loads, says it is ready, and then computes nothing: it gives up, or is not there.
DEAD_THREAD = 'throw new Error("out of order");'
IDLE_THREAD = """
{
  const Instance = WebAssembly.Instance;
  WebAssembly.Instance = function (module, imports) {
    const { exports } = new Instance(module, imports);
    return { exports: { ...exports, mlr_worker: () => { INSTEAD; } } };
  };
}
"""
ABORTING = "setTimeout(exports.mlr_abort, 50)"
SILENT = {"node": "process.exit()", "deno": "self.close()"}

# Before a pass of 13 tokens the kernel's own pointer to them is sent out of its memory.
CORRUPTING = """
{
  const Instance = WebAssembly.Instance;
  WebAssembly.Instance = function (module, imports) {
    const { exports } = new Instance(module, imports);
    const mlr_eval = (count) => {
      const words = new Uint32Array(imports.env.memory.buffer, 0, exports.mlr_tokens() / 4);
      if (count === 13) words[words.indexOf(exports.mlr_tokens())] = 2 ** 32 - 1;
      return exports.mlr_eval(count);
    };
    return { exports: { ...exports, mlr_eval } };
  };
}
"""

# Passes are counted: the log probability of every token is how many there have been.
COUNTING = """
{
  const Instance = WebAssembly.Instance;
  WebAssembly.Instance = function (module, imports) {
    const { exports } = new Instance(module, imports);
    let passes = 0;
    const mlr_eval = (count) => {
      passes++;
      return exports.mlr_eval(count);
    };
    return { exports: { ...exports, mlr_eval, mlr_logprob: () => -passes } };
  };
}
"""
# The same with passes that take 100 ms longer, so that the caller is far quicker than the model.
PAUSE = "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);"
SLOW = COUNTING.replace("passes++;", f"passes++; {PAUSE}")

# A host that has no memory left for a model.
SCARCE = """
{
  const Memory = WebAssembly.Memory;
  WebAssembly.Memory = function (limits) {
    if (limits.shared && limits.initial > 64) throw new RangeError("could not allocate memory");
    return new Memory(limits);
  };
}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in several shards."""
    folder = tmp_path_factory.mktemp("tiny")
    model: dict[str, Any] = {"n_layers": 4, "n_ff": 1024, "context_length": 8192}
    return package_bundle(folder, shard_size=9 * 65536, **model)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny decoder with embeddings."""
    return package_embedder(tmp_path_factory.mktemp("embedder"), context_length=4096)


@pytest.fixture(scope="module")
def _site(bundle: Path) -> Iterator[Site]:
    with serve_site({"/bundle/": bundle}) as site:
        yield site


@pytest.fixture
def site(_site: Site) -> Iterator[Site]:
    """The bundle at `/bundle/`; nothing goes wrong until told to."""
    yield _site
    _site.reset()


@pytest.fixture(scope="module")
def shards(bundle: Path) -> list[str]:
    """The paths of the shards on the site."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    return [f"/bundle/{shard['file']}" for shard in manifest["variants"][0]["shards"]]


@pytest.fixture(params=TERMINALS)
def host(request: pytest.FixtureRequest, hosts: Path) -> str:
    """A host of the terminal."""
    return str(request.param)


@pytest.fixture
def ask(host: str, package: Path, bundle: Path) -> Ask:
    """Runs a scenario of `faults.mjs`."""

    def ask(scenario: str, location: str = bundle.as_uri(), path: Path = package) -> Any:
        module = (path / TERMINALS[host] / "mlr.js").as_uri()
        program = str(PROGRAMS / "faults_terminal.mjs")
        return printed([*terminal(host), program, module, scenario, location], seconds=90)

    return ask


def changed(package: Path, folder: Path, file: str, text: str) -> Path:
    """A copy of the package with another script."""
    copy = folder / "package"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("types"))
    (copy / file).write_text(text, encoding="utf-8")
    return copy


def begun(package: Path, folder: Path, file: str, code: str) -> Path:
    """A copy of the package in which a script begins with `code`."""
    return changed(package, folder, file, code + (package / file).read_text(encoding="utf-8"))


def with_idle_thread(package: Path, folder: Path, host: str, instead: str) -> Path:
    """A copy of the package whose kernel threads do `instead` of computing."""
    return begun(package, folder, f"{host}/thread.js", IDLE_THREAD.replace("INSTEAD", instead))


def dying(script: str) -> str:
    """The model's worker, which dies when it is to generate."""
    death = 'setTimeout(() => { throw new Error("died"); }); return new Promise(() => 0);'
    changed, count = re.subn(r'case ?"generate":', rf"\g<0> {death}", script)
    assert count == 1
    return changed


def codes(answers: list[dict[str, Any]]) -> list[str]:
    """The codes of errors."""
    return [answer.get("code") or answer.get("name") or "" for answer in answers]


def test_a_missing_bundle(ask: Ask, site: Site) -> None:
    (answer,) = ask("load", f"{site.url}/nothing/")
    assert (answer["name"], answer["code"]) == ("FetchError", "fetch")
    assert "the server answered 404" in answer["message"]


def test_a_missing_folder(ask: Ask, tmp_path: Path) -> None:
    (answer,) = ask("load", (tmp_path / "nothing").as_uri())
    assert (answer["name"], answer["code"]) == ("FetchError", "fetch")
    assert str(tmp_path / "nothing" / "manifest.json") in answer["message"]
    assert "o such file" in answer["message"]
    assert "server" not in answer["message"]


def test_a_bundle_by_its_manifest(ask: Ask, site: Site, bundle: Path) -> None:
    for location in (f"{site.url}/bundle/manifest.json?x=1", (bundle / "manifest.json").as_uri()):
        assert codes(ask("load", location)) == [""]


@pytest.mark.parametrize("host", ["node 20", "node 24"], indirect=True)
def test_a_server_that_is_not_there(ask: Ask) -> None:
    """Why is in the cause of what Node.js throws."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _, port = listener.getsockname()
    (answer,) = ask("load", f"http://127.0.0.1:{port}/bundle/")
    assert answer["code"] == "fetch"
    assert f"connect ECONNREFUSED 127.0.0.1:{port}" in answer["message"]


def test_a_bundle_of_the_first_version(ask: Ask, site: Site, bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    site.texts["/bundle/manifest.json"] = json.dumps(manifest | {"schema_version": 1}).encode()
    (answer,) = ask("load", f"{site.url}/bundle/")
    assert answer["name"] == "ManifestError"
    assert "packaged anew" in answer["message"]


def test_a_shard_that_is_damaged(ask: Ask, site: Site, shards: list[str]) -> None:
    site.flips[shards[1]] = [5, 5]
    (answer,) = ask("load", f"{site.url}/bundle/")
    assert (answer["name"], answer["code"]) == ("IntegrityError", "integrity")


def test_a_folder_that_is_damaged(
    ask: Ask, bundle: Path, shards: list[str], tmp_path: Path
) -> None:
    """A byte in the middle that is wrong, then a shard that is cut, then none."""
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    shard = folder / shards[1].removeprefix("/bundle/")
    right = shard.read_bytes()
    middle = len(right) // 2
    shard.write_bytes(right[:middle] + bytes([right[middle] ^ 1]) + right[middle + 1 :])
    assert codes(ask("load", folder.as_uri())) == ["integrity"]
    shard.write_bytes(right[:-1])
    assert codes(ask("load", folder.as_uri())) == ["fetch"]
    shard.unlink()
    assert codes(ask("load", folder.as_uri())) == ["fetch"]
    shard.write_bytes(right)
    assert codes(ask("load", folder.as_uri())) == [""]


def test_weights_that_are_not_finite(ask: Ask, bundle: Path, tmp_path: Path) -> None:
    """The manifest's hashes are theirs, so nothing but the kernel notices."""
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    with_weights(folder, "blk.3.ffn_norm.weight", 4 * 255, struct.pack("<f", math.nan))
    (answer,) = ask("load", folder.as_uri())
    assert (answer["name"], answer["code"]) == ("FormatError", "format")
    assert "tensor blk.3.ffn_norm.weight at byte" in answer["message"]


def test_a_byte_that_was_wrong_once(ask: Ask, site: Site, shards: list[str]) -> None:
    site.flips[shards[1]] = [5]
    site.cuts[shards[2]] = [1000]
    assert codes(ask("load", f"{site.url}/bundle/")) == [""]


def test_a_server_that_stalls(ask: Ask, site: Site, shards: list[str]) -> None:
    site.stalls[shards[0]] = 2
    (answer,) = ask("load", f"{site.url}/bundle/")
    assert answer["code"] == "fetch"
    assert "nothing arrived for 0.4 seconds" in answer["message"]
    site.stalls = {"/bundle/manifest.json": 2}
    (answer,) = ask("load", f"{site.url}/bundle/")
    assert answer["code"] == "fetch"
    assert answer["ms"] < 2000


def test_a_load_that_is_given_up(ask: Ask, site: Site, shards: list[str]) -> None:
    site.stalls[shards[0]] = 3
    (answer,) = ask("aborted_load", f"{site.url}/bundle/")
    assert answer["name"] == "TimeoutError"  # the signal's own reason
    assert answer["ms"] < 2000


def test_a_load_that_is_given_up_in_an_edge_worker(
    package: Path, hosts: Path, site: Site, shards: list[str]
) -> None:
    """No worker ends there, but no more shards are asked for."""
    modules = {
        "worker.mjs": PROGRAMS / "edge_abort.mjs",
        "mlr.js": package / "workerd" / "mlr.js",
        "kernel.wasm": package / "kernel-relaxed.wasm",
    }
    site.stalls = dict.fromkeys(shards, 0.6)
    asked = {"bundle": f"{site.url}/bundle/", "after": 300, "wait": 2500}
    with workerd(modules) as url:
        assert ask_workerd(url, asked) == "TimeoutError"
    assert 0 < len(site.asked("shards")) < len(shards)


def test_a_chat_template_that_is_not_utf8(ask: Ask, bundle: Path, tmp_path: Path) -> None:
    folder, content = shutil.copytree(bundle, tmp_path / "bundle"), b"{{ messages }}\xff"
    entry = {"file": "chat", "size": len(content), "sha256": sha256(content).hexdigest()}
    (folder / "chat").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"chat_template": entry}))
    assert codes(ask("load", folder.as_uri())) == ["template"]


def load_without_length(ask: Ask, send: Callable[[BufferedIOBase], object]) -> dict[str, Any]:
    """What loading from a server answers that does not say how long what it sends is."""

    class Unmeasured(BaseHTTPRequestHandler):
        """Has `send` write every body."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            send(self.wfile)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Unmeasured) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        (answer,) = ask("load", f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    return answer


def test_a_manifest_without_an_end(ask: Ask) -> None:
    """It is given up at its limit, not when memory is full."""
    sent = 0

    def send(body: BufferedIOBase) -> None:
        """Spaces for as long as they are taken, at most 200 MB."""
        nonlocal sent
        with suppress(ConnectionError):
            while sent < 200 << 20:
                sent += body.write(b" " * (1 << 20))

    answer = load_without_length(ask, send)
    assert answer["code"] == "fetch"
    assert "more bytes than the 16777216 that are allowed" in answer["message"]
    assert sent < 64 << 20


def test_a_manifest_that_does_not_say_how_long_it_is(ask: Ask) -> None:
    """It is read to its end, where it turns out to be no manifest."""
    answer = load_without_length(ask, lambda body: body.write(b" " * 300_000 + b"{}"))
    assert answer["code"] == "manifest"
    assert "this is not an mlr bundle" in answer["message"]


def check_progress(answer: list[dict[str, Any]]) -> None:
    """`onProgress` ends the load, not the program, and is not called again."""
    *answers, counts = answer
    assert codes(answers) == ["RangeError", "RangeError", "request"]
    assert answers[0]["message"] == "no such bar"
    assert counts == {"heard": 2, "calls": 2}


def test_a_progress_function_that_fails(ask: Ask) -> None:
    check_progress(ask("progress"))


def test_what_is_asked_for_wrongly(ask: Ask) -> None:
    answers = ask("options")
    assert codes(answers) == [
        *("capacity", "request", "request", "request"),
        *("request", "request", "request", "request", "context-length", "request"),
        "unsupported-model",
    ]
    assert "contextLength: " in answers[0]["message"] or "quantization" in answers[0]["message"]
    assert "tempreature" in answers[5]["message"]


def test_arguments_of_a_wrong_kind(ask: Ask) -> None:
    """Plain JavaScript has no types: none of it may look like an engine that failed."""
    answers = ask("kinds")
    assert codes(answers) == ["request"] * 20
    assert "unknown option thread of load" in answers[0]["message"]


def test_a_server_that_has_a_page_in_place_of_the_kernel(
    ask: Ask, package: Path, tmp_path: Path
) -> None:
    """As development servers do for whatever they do not find."""
    path = changed(package, tmp_path, "kernel-relaxed.wasm", "<!doctype html>")
    (path / "kernel-simd.wasm").write_text("<!doctype html>")  # which Node 20 takes
    (answer,) = ask("load", path=path)
    assert answer["code"] == "fetch"
    assert re.search(r"kernel-\w+\.wasm: what the server sent is not WebAss", answer["message"])


def check_cancelled(answers: list[dict[str, Any]]) -> None:
    """One generation was given up as it ran, one as it waited; those that follow are whole."""
    whole, running, waiting, queued, after = answers
    assert len(whole["tokenIds"]) == 20
    assert running["name"] == waiting["name"] == "TimeoutError"
    assert running["ms"] < 1000
    assert queued == after == whole


def test_a_generation_that_is_given_up(ask: Ask) -> None:
    check_cancelled(ask("cancelled"))


def check_given_up(answer: Any) -> None:
    """A stream was left at its third token in three ways, a prompt of 24 passes after some."""
    abort, tokenize, leave = answer["streams"]
    assert [one.get("name") for one in (abort, tokenize, leave)] == ["AbortError", None, None]
    for one in (abort, tokenize, leave):
        assert one["after"] <= 2, one
        assert one["passes"] <= 8, one
    assert answer["prompt"]["name"] == "AbortError"
    assert answer["prompt"]["given"] <= 8
    assert answer["prompt"]["given"] + answer["prompt"]["read"] >= 24
    assert answer["same"]


def test_a_generation_stops_at_once(ask: Ask, host: str, package: Path, tmp_path: Path) -> None:
    """Counted in tokens and in passes of the kernel."""
    slow = begun(package, tmp_path, f"{TERMINALS[host]}/worker.js", SLOW)
    check_given_up(ask("given_up", path=slow))


def test_a_generation_stops_at_once_in_an_edge_worker(
    package: Path, hosts: Path, site: Site, tmp_path: Path
) -> None:
    """Caller and model have one thread there, so that nothing has to be slow."""
    script = (package / "workerd" / "mlr.js").read_text(encoding="utf-8")
    (tmp_path / "mlr.js").write_text(COUNTING + script, encoding="utf-8")
    modules = {
        "worker.mjs": PROGRAMS / "faults_worker.mjs",
        "faults.mjs": PROGRAMS / "faults.mjs",
        "mlr.js": tmp_path / "mlr.js",
        "kernel.wasm": package / "kernel-relaxed.wasm",
    }
    with workerd(modules) as url:
        asked = {"bundle": f"{site.url}/bundle/", "scenario": "given_up"}
        check_given_up(ask_workerd(url, asked))


def check_embedding(answers: list[dict[str, Any]]) -> None:
    """One request was given up as it ran, for far longer than that, one as it waited."""
    whole, running, waiting, after, closed = answers
    assert running["name"] == waiting["name"] == "TimeoutError"
    assert waiting["ms"] < running["ms"] < whole["ms"] / 2
    assert after == {"value": True}
    assert closed["code"] == "engine"


def test_embedding_stops_at_once(
    ask: Ask, host: str, package: Path, embedder: Path, tmp_path: Path
) -> None:
    """Also in the middle of a text of many passes."""
    slow = begun(package, tmp_path, f"{TERMINALS[host]}/worker.js", SLOW)
    check_embedding(ask("embedding", embedder.as_uri(), slow))


def test_a_generation_that_is_given_up_before_its_turn(ask: Ask) -> None:
    """It does not wait for the one that runs."""
    given, running, after = ask("queued")
    assert given["name"] == "TimeoutError"
    assert given["ms"] < running["ms"] / 2
    assert len(after["tokenIds"]) == 20


def test_tokens_that_are_asked_for_at_once(ask: Ask) -> None:
    together, whole = ask("together")
    assert together["tokenIds"] == [*whole["tokenIds"], None]


@pytest.mark.parametrize("host", ["node 20", "node 24"], indirect=True)
def test_what_cannot_be_sent(ask: Ask) -> None:
    """It keeps no program from ending, where a model does not."""
    assert codes(ask("unsendable")) == ["request"]


def check_closed(answer: list[dict[str, Any]]) -> None:
    """Readers of streams hear of it, too; a stream that was left has just ended."""
    *answers, left = answer
    assert codes(answers) == ["engine"] * 6
    assert left == {"done": True}


def test_a_model_that_is_closed(ask: Ask) -> None:
    check_closed(ask("closed"))


def test_a_thread_that_does_not_start(ask: Ask, host: str, package: Path, tmp_path: Path) -> None:
    path = changed(package, tmp_path, f"{TERMINALS[host]}/thread.js", DEAD_THREAD)
    (answer,) = ask("load", path=path)
    assert answer["code"] == "engine"
    assert "out of order" in answer["message"]


def test_a_thread_that_fails(ask: Ask, host: str, package: Path, tmp_path: Path) -> None:
    path = with_idle_thread(package, tmp_path, TERMINALS[host], ABORTING)
    first, second = ask("lost", path=path)
    assert first["code"] == second["code"] == "engine"
    assert "a kernel thread failed; load the model again" in first["message"]


def test_a_thread_that_ended_without_a_word(
    ask: Ask, host: str, package: Path, tmp_path: Path
) -> None:
    """The kernel waits ten seconds for a sign of life, then gives up."""
    path = with_idle_thread(package, tmp_path, TERMINALS[host], SILENT[TERMINALS[host]])
    first, second = ask("lost", path=path)
    assert first["code"] == second["code"] == "engine"
    assert first["ms"] < 20_000


def test_a_trap(ask: Ask, host: str, package: Path, tmp_path: Path) -> None:
    broken = begun(package, tmp_path, f"{TERMINALS[host]}/worker.js", CORRUPTING)
    check_trap(ask("trap", path=broken))


def check_trap(answers: list[dict[str, Any]]) -> None:
    """A model that trapped is of no use any more; it can be loaded again."""
    first, second, fresh = answers
    assert first["code"] == second["code"] == "engine"
    assert "mlr_eval failed in the kernel" in first["message"]
    assert len(fresh["tokenIds"]) == 20


def test_memory_that_the_host_refuses(ask: Ask, host: str, package: Path, tmp_path: Path) -> None:
    file = f"{TERMINALS[host]}/thread.js"  # the worker that loads makes the memory
    (answer,) = ask("load", path=begun(package, tmp_path, file, SCARCE))
    assert answer["code"] == "capacity"
    assert "smaller contextLength" in answer["message"]
    assert codes(ask("load")) == [""]


def test_a_worker_that_dies(ask: Ask, host: str, package: Path, tmp_path: Path) -> None:
    script = (package / TERMINALS[host] / "worker.js").read_text(encoding="utf-8")
    path = changed(package, tmp_path, f"{TERMINALS[host]}/worker.js", dying(script))
    first, second = ask("lost", path=path)
    assert first["code"] == second["code"] == "engine"
    assert "died" in first["message"]
