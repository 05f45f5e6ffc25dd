"""mlr's page against wllama (llama.cpp compiled to WebAssembly), in Chromium on the CPU.

    python -m tests.bench.bench_browser [MODEL.gguf BUNDLE] [--threads 1 2] [--repeats 3] [--json]

in the repository's root; BUNDLE is the model packaged by `mlr-build package MODEL.gguf`; the demo
model and its bundle when none are named. wllama is installed from npm into `.cache/bench`. Both
pages are open in one browser, have the same weights, prompts and number of threads, and take
turns.

What is timed: for wllama llama.cpp's own clock, for mlr what `generate` reports, whose first token
includes tokenizing the prompt and passing messages between the workers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.file_server import serve_files
from tests.bench.measure import (
    DECODE_PROMPT,
    DEMO_BUNDLE,
    DEMO_MODEL,
    Row,
    long_prompts,
    machine,
    model_tokenizer,
    report,
)
from tests.conftest import find_chromium

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"
MLR_PAGE = ROOT / "runtime_py" / "mlr" / "server" / "page"
WLLAMA = CACHE / "node_modules" / "@wllama" / "wllama"
WLLAMA_VERSION = "3.8.1"
CONTEXT = 1024
WARM_UP_PROMPT, WARM_UP_TOKENS = 64, 16
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=DEMO_MODEL, help="for wllama")
    parser.add_argument("bundle", type=Path, nargs="?", default=DEMO_BUNDLE, help="for mlr")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    check_same_weights(options.model, options.bundle)

    install_wllama()
    mounts = {
        "/wllama": WLLAMA,
        "/pages": Path(__file__).parent / "pages",
        "/model.gguf": options.model,
        "/bundle": options.bundle,
        "": MLR_PAGE,
    }
    rows = []
    with ExitStack() as stack:
        ours_url = stack.enter_context(serve_files(mounts))
        theirs_url = stack.enter_context(serve_files(mounts))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        for threads in options.threads:
            # A page each in a context of its own: closing it ends its workers.
            with (
                Mlr(browser, ours_url, threads) as ours,
                Wllama(browser, theirs_url, threads) as theirs,
            ):
                rows += measure(options, threads, ours, theirs)
        chromium = browser.version
        browser.close()
    report(
        "mlr against wllama in Chromium, CPU; tokens a second",
        ("mlr", "wllama"),
        rows,
        [
            f"decode: {options.new_tokens} tokens, greedy, the first not counted; "
            f"prefill: a prompt of {options.prompt_tokens} tokens and one token",
            f"medians (and ranges) of {options.repeats} runs, in turns, after a warm-up of both",
            f"{options.model.name}; @wllama/wllama {WLLAMA_VERSION}, Chromium {chromium}; "
            f"{machine()}",
        ],
        as_json=options.json,
    )


def measure(options: argparse.Namespace, threads: int, ours: Mlr, theirs: Wllama) -> list[Row]:
    """Decoding and prefill on both pages, in turns."""
    tokenizer = model_tokenizer(options.model)
    prompts = long_prompts(tokenizer, options.prompt_tokens)
    decode = Row("decode", threads, [], [])
    prefill = Row(f"prefill {options.prompt_tokens}", threads, [], [])
    warm_up = next(long_prompts(tokenizer, WARM_UP_PROMPT))
    for page in (ours, theirs):
        page.prefill(warm_up, WARM_UP_PROMPT)
        page.decode(DECODE_PROMPT, WARM_UP_TOKENS)
    for _ in range(options.repeats):
        decode.ours.append(ours.decode(DECODE_PROMPT, options.new_tokens))
        decode.theirs.append(theirs.decode(DECODE_PROMPT, options.new_tokens))
        prompt = next(prompts)
        prefill.ours.append(ours.prefill(prompt, options.prompt_tokens))
        prefill.theirs.append(theirs.prefill(prompt, options.prompt_tokens))
    return [decode, prefill]


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
        return int(self._page.evaluate(load, ["/bundle/", self._threads, CONTEXT]))

    def _generate(self, prompt: str, count: int) -> dict[str, Any]:
        generate = """async ([prompt, maxTokens]) => {
          const {tokenIds, timings} = await model.generate(prompt, {maxTokens, temperature: 0});
          return {tokens: tokenIds.length, ...timings};
        }"""
        result: dict[str, Any] = self._page.evaluate(generate, [prompt, count])
        if result["tokens"] != count:
            raise RuntimeError(f"mlr gave {result['tokens']} tokens of {count}")
        return result

    def decode(self, prompt: str, count: int) -> float:
        """Tokens a second after the first."""
        return float(self._generate(prompt, count)["decodeTokensPerSecond"])

    def prefill(self, prompt: str, tokens: int) -> float:
        """Prompt tokens a second, up to the first token of the answer."""
        return tokens / (float(self._generate(prompt, 1)["firstTokenMs"]) / 1e3)


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

    def decode(self, prompt: str, count: int) -> float:
        """Tokens a second after the first, with which its clock starts."""
        return (count - 1) / (float(self._complete(prompt, count)["predicted_ms"]) / 1e3)

    def prefill(self, prompt: str, tokens: int) -> float:
        """Prompt tokens a second."""
        result = self._complete(prompt, 1)
        if result["prompt_n"] != tokens:
            raise RuntimeError(f"wllama made {result['prompt_n']} tokens of {tokens}")
        return tokens / (float(result["prompt_ms"]) / 1e3)


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
