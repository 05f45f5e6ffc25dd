"""mlr's page in Chromium against wllama (llama.cpp in WebAssembly) and against llama.cpp, native.

    python -m tests.bench.bench_browser [MODEL.gguf BUNDLE] [--threads 1 2] [--repeats 3] [--json]

in the repository's root; BUNDLE is the model packaged by `mlr-build package MODEL.gguf`; the demo
model and its bundle when none are named. wllama is installed from npm into `.cache/bench`;
llama-cpp-python, which `make test-oracles` installs, is left out where it is not there. Both pages
are open in one browser. All have the same weights, prompts and number of threads, run on the CPU,
and take turns. Also measured, in the same turns: how fast mlr's page reads memory with as many
workers, which bounds decoding, since every token reads nearly every weight. What several threads
gain is each engine's own.

What is timed: for wllama llama.cpp's own clock, for llama.cpp its evaluation, for mlr what
`generate` reports, whose first token includes tokenizing the prompt and passing messages between
the workers.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wasmtime
from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.file_server import serve_files
from tests.bench.measure import DEMO_BUNDLE, Row, machine, report
from tests.bench.native_llama import LLAMA_CPP_NOTE, native_llama
from tests.bench.streaming import STREAM, STREAM_BYTES, STREAM_PASSES, STREAM_RUNS
from tests.bench.turns import CONTEXT, Prompt, describe, options_parser, take_turns
from tests.conftest import find_chromium

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"
MLR_PAGE = ROOT / "runtime_py" / "mlr" / "server" / "page"
WLLAMA = CACHE / "node_modules" / "@wllama" / "wllama"
WLLAMA_VERSION = "3.8.1"
TIMEOUT_MS = 900_000.0

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # The page whose turn it is not must not count as hidden when its turn comes.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
]


def main() -> None:
    """Measure and print."""
    parser = options_parser(__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=DEMO_BUNDLE, help="for mlr")
    options = parser.parse_args()
    check_same_weights(options.model, options.bundle)
    install_wllama()
    rows: list[Row] = []
    notes = []
    with ExitStack() as stack:
        module = Path(stack.enter_context(TemporaryDirectory())) / "stream.wasm"
        module.write_bytes(wasmtime.wat2wasm(STREAM))
        mounts = {
            "/wllama": WLLAMA,
            "/pages": Path(__file__).parent / "pages",
            "/model.gguf": options.model,
            "/bundle": options.bundle,
            "/stream.wasm": module,
            "": MLR_PAGE,
        }
        ours_url = stack.enter_context(serve_files(mounts))
        theirs_url = stack.enter_context(serve_files(mounts))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        for threads in options.threads:
            # A page each in a context of its own: closing it ends its workers.
            with (
                Mlr(browser, ours_url, threads) as ours,
                Wllama(browser, theirs_url, threads) as theirs,
                native_llama(options.model, threads) as peers,
            ):
                engines = {"mlr": ours, "wllama": theirs, **peers}
                measured, note = take_turns(engines, ours.stream_bandwidth, options, threads)
            rows += measured
            notes.append(note)
        chromium = browser.version
        browser.close()
    report(
        "mlr in Chromium against wllama there and llama.cpp, native; CPU, tokens a second",
        rows,
        [
            *notes,
            *describe(options),
            LLAMA_CPP_NOTE,
            f"{options.model.name}; @wllama/wllama {WLLAMA_VERSION}, Chromium {chromium}; "
            f"{machine()}",
        ],
        as_json=options.json,
    )


class _Timed:
    """A page in a context of its own, with an engine that is loaded."""

    path: str
    ready: str

    def __init__(self, browser: Browser, url: str, threads: int) -> None:
        self._browser, self._url, self._threads = browser, url, threads

    def __enter__(self) -> Any:
        self._context = self._browser.new_context()
        self._context.set_default_timeout(TIMEOUT_MS)
        self._page: Page = self._context.new_page()
        self._page.goto(self._url + self.path)
        self._page.wait_for_function(self.ready)
        if not self._page.evaluate("crossOriginIsolated"):
            raise RuntimeError(f"{self._url}{self.path} is not cross-origin isolated")
        threads = self._load()
        if threads != self._threads:
            raise RuntimeError(f"{type(self).__name__} runs on {threads} threads")
        return self

    def __exit__(self, *error: object) -> None:
        self._context.close()

    def _load(self) -> int:
        raise NotImplementedError


class Mlr(_Timed):
    """`globalThis.mlr` of mlr's page."""

    path = "/index.html"
    ready = "Boolean(globalThis.mlr?.load)"  # a bare function would be called

    def _load(self) -> int:
        load = """async ([url, threads, contextLength]) => {
          globalThis.model = await mlr.load(new URL(url, location.href).href,
                                            {threads, contextLength});
          return model.info.threads;
        }"""
        threads = int(self._page.evaluate(load, ["/bundle/", self._threads, CONTEXT]))
        stream = {"url": "/stream.wasm", "bytes": STREAM_BYTES, "threads": threads}
        stream |= {"passes": STREAM_PASSES, "runs": STREAM_RUNS}
        open_stream = """async (stream) => {
          const {openStream} = await import("/pages/stream.mjs");
          globalThis.stream = await openStream(stream);
        }"""
        self._page.evaluate(open_stream, stream)
        return threads

    def stream_bandwidth(self) -> float:
        """Bytes a second that as many workers of the page read together."""
        return float(self._page.evaluate("() => stream()"))

    def _generate(self, prompt: str, count: int) -> dict[str, Any]:
        generate = """async ([prompt, maxTokens]) => {
          const {tokenIds, timings} = await model.generate(prompt, {maxTokens, temperature: 0});
          return {tokens: tokenIds.length, ...timings};
        }"""
        result: dict[str, Any] = self._page.evaluate(generate, [prompt, count])
        if result["tokens"] != count:
            raise RuntimeError(f"mlr gave {result['tokens']} tokens of {count}")
        return result

    def decode(self, prompt: Prompt, count: int) -> float:
        """Tokens a second after the first."""
        return float(self._generate(prompt.text, count)["decodeTokensPerSecond"])

    def prefill(self, prompt: Prompt) -> float:
        """Prompt tokens a second, up to the first token of the answer."""
        first_token_ms = float(self._generate(prompt.text, 1)["firstTokenMs"])
        return len(prompt.tokens) / (first_token_ms / 1e3)


class Wllama(_Timed):
    """pages/wllama.html."""

    path = "/pages/wllama.html"
    ready = "globalThis.ready"

    def _load(self) -> int:
        load = "([url, threads, context]) => openModel(url, threads, context)"
        arguments = ["/model.gguf", self._threads, CONTEXT]
        return int(self._page.evaluate(load, arguments)["threads"])

    def _complete(self, prompt: str, count: int) -> dict[str, Any]:
        result: dict[str, Any] = self._page.evaluate("([p, n]) => complete(p, n)", [prompt, count])
        if result["cache_n"] or result["predicted_n"] != count:
            raise RuntimeError(f"wllama reused a prompt or stopped early: {result}")
        return result

    def decode(self, prompt: Prompt, count: int) -> float:
        """Tokens a second after the first, with which its clock starts."""
        predicted_ms = float(self._complete(prompt.text, count)["predicted_ms"])
        return (count - 1) / (predicted_ms / 1e3)

    def prefill(self, prompt: Prompt) -> float:
        """Prompt tokens a second."""
        result = self._complete(prompt.text, 1)
        if result["prompt_n"] != len(prompt.tokens):
            raise RuntimeError(f"wllama made {result['prompt_n']} tokens of {len(prompt.tokens)}")
        return len(prompt.tokens) / (float(result["prompt_ms"]) / 1e3)


def install_wllama() -> None:
    """Have the package in its folder."""
    manifest = WLLAMA / "package.json"
    if not manifest.is_file() or json.loads(manifest.read_text())["version"] != WLLAMA_VERSION:
        CACHE.mkdir(parents=True, exist_ok=True)
        package = f"@wllama/wllama@{WLLAMA_VERSION}"
        subprocess.run(["npm", "install", "--no-fund", "--prefix", CACHE, package], check=True)


def check_same_weights(model: Path, bundle: Path) -> None:
    """Exit unless the bundle was packaged from this very file."""
    variants = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["variants"]
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest not in {variant["sha256"] for variant in variants}:
        raise SystemExit(f"{bundle} was not packaged from {model}: package it again")


if __name__ == "__main__":
    main()
