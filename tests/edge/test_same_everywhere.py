"""The same logits, bit for bit, and the same tokens, in every host.

CPython says what is right, on one thread. Every host loads the same bundles through the npm
package, with as many threads as it can, and with both builds of the kernel where it takes both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

import mlr
from mlr.tokenizer import chat
from tests.browser.site import Site, serve_site
from tests.edge.hosts import PROGRAMS, TERMINALS, ask_firefox, ask_terminal, ask_workerd, workerd
from tests.parity.tokenizer.trained import trained
from tests.support.bundles import package as package_bundle
from tests.support.bundles import with_files
from tests.support.tiny_models import QUANTIZATIONS

THREADS = [1, 2, 4]
RELAXED = "relaxed SIMD"  # how both builds introduce themselves: they lie in the same place
CONTEXT = 192
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " Größe? 世界 👩🏾‍🚀 "},
]
# Longer than a pass of the kernel and than Gemma's window, in one piece and one by one.
IDS = [[3], [7, 300, 11, 5], [(n * 7919) % 290 + 3 for n in range(150)]]
GREEDY = {"maxTokens": 24}
SAMPLED = {
    "maxTokens": 24,
    "temperature": 1.1,
    "topK": 60,
    "topP": 0.95,
    "minP": 0.01,
    "repeatPenalty": 1.3,
    "seed": 2**53 - 1,
}
STOPS = ["the ", *"aeiou0123456789"]
GENERATIONS: list[dict[str, Any]] = [
    {"prompt": "The theory of the thing, don't think: 123 Σίσυφος", "options": GREEDY},
    {"prompt": "The theory of the thing", "options": SAMPLED},  # begins as the one before
    {
        "prompt": [5, 6, 7, 300],
        "options": SAMPLED | {"seed": 3, "stop": STOPS},
    },
    {"prompt": "The theory of the thing", "options": SAMPLED | {"stop": STOPS}},
    {"prompt": {"messages": MESSAGES}, "options": SAMPLED | {"seed": 11, "logprobs": 0}},
    {
        "prompt": "The theory of the thing",
        "options": GREEDY | {"frequencyPenalty": 1.5, "presencePenalty": -0.5, "logprobs": 20},
    },
]


# Architecture, and the tokenizer: as GGUF has it, or a tokenizer.json.
BUNDLES = {
    "llama": ("llama", "llama3"),
    "gemma3": ("gemma3", "gemma"),
    "gguf": ("llama", None),
    "types": ("llama", None),
}
# The head's type too; in the mixture of the others it is Q6_K.
QUANTIZATION = {"gemma3": "Q8_0", "types": "EVERY"}
MATRICES = 7  # of a layer
LAYERS = {"types": -(-len(QUANTIZATIONS) // MATRICES)}


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a chat template; one has matrices of every type.

    Of the tokens that are GGUF's some are unused, and have no text.
    """
    architecture, name = BUNDLES[request.param]
    tokenizer = trained(name) if name else None
    sizes: dict[str, Any] = {"n_layers": LAYERS[request.param]} if request.param in LAYERS else {}
    bundle = package_bundle(
        tmp_path_factory.mktemp(request.param),
        architecture=architecture,
        quantization=QUANTIZATION.get(request.param, "MIXED"),
        tied=False,
        positive_head=True,
        n_vocab=tokenizer.get_vocab_size() if tokenizer else 330,
        shard_size=9 * 65536,
        **sizes,
    )
    if request.param == "types":
        (variant,) = json.loads((bundle / "manifest.json").read_bytes())["variants"]
        assert {tensor["type"] for tensor in variant["tensors"]} == set(QUANTIZATIONS)
    with_files(bundle, TEMPLATE, tokenizer.to_str() if tokenizer else None)
    return bundle


def snake(options: dict[str, Any]) -> dict[str, Any]:
    """`maxTokens` as `max_tokens`."""
    return {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in k): v for k, v in options.items()
    }


def likelihoods(token: mlr.Token) -> dict[str, Any]:
    """A token with log probabilities, as JavaScript gives it.

    Not its text: of bytes that are no UTF-8 Python gives out what it can earlier.
    """
    return {
        "id": token.id,
        "logprob": token.logprob,
        "topLogprobs": [{"id": id, "logprob": value} for id, value in token.top_logprobs],
    }


def in_python(bundle: Path) -> dict[str, Any]:
    """What CPython says, on one thread."""
    logits, completions = [], []
    with mlr.load_sync(bundle, threads=1, context_length=CONTEXT) as model:
        engine, tokenizer = model._model.engine, model.tokenizer
        for ids in IDS:
            engine.truncate(0)
            engine.evaluate(ids)
            logits.append(hashlib.sha256(engine.logits().tobytes()).hexdigest())
        for generation in GENERATIONS:
            prompt = generation["prompt"]
            if isinstance(prompt, dict):
                pieces = [
                    "" if token is None else tokenizer.piece(token)
                    for token in (tokenizer.bos_id, tokenizer.eos_id)
                ]
                text = chat.render(TEMPLATE, MESSAGES, bos_token=pieces[0], eos_token=pieces[1])
                prompt = model.tokenize(text, add_special=False)
            done = model.generate(prompt, **snake(generation["options"]))
            completions.append(
                {
                    "text": done.text,
                    "tokenIds": done.token_ids,
                    "promptTokenIds": done.prompt_token_ids,
                    "finishReason": done.finish_reason,
                    "stopSequence": done.stop_sequence,
                    "tokens": [
                        likelihoods(token) for token in done.tokens if token.logprob is not None
                    ],
                }
            )
    return {"logits": logits, "completions": completions}


@pytest.fixture(scope="module")
def expected(bundle: Path) -> dict[str, Any]:
    """CPython's answers, from a thread of its own: Playwright may have its loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(in_python, bundle).result()
    lengths = {len(done["tokenIds"]) for done in answers["completions"]}
    assert len(lengths) > 1, "a stop sequence is found"
    return answers


@pytest.fixture(scope="module")
def site(packages: dict[str, Path], bundle: Path) -> Iterator[Site]:
    """Both packages, the bundle, and the page that browsers open."""
    folders = {f"/{build}/": path for build, path in packages.items()}
    with serve_site({**folders, "/bundle/": bundle, "/programs/": PROGRAMS}) as site:
        page = (PROGRAMS / "probe.html").read_text(encoding="utf-8")
        for build in packages:
            site.texts[f"/{build}.html"] = page.replace("/package/", f"/{build}/").encode()
        site.texts["/job.json"] = json.dumps(job(f"{site.url}/bundle/")).encode()
        yield site


def job(bundle: str, threads: list[int] = THREADS) -> dict[str, Any]:
    """What a host is asked."""
    return {
        "bundle": bundle,
        "threads": threads,
        "contextLength": CONTEXT,
        "ids": IDS,
        "generations": GENERATIONS,
    }


def check(answers: Any, expected: dict[str, Any], threads: list[int], detail: str) -> None:
    """Every answer is CPython's, and was computed as it should be."""
    assert isinstance(answers, list), answers
    assert [answer["threads"] for answer in answers] == threads
    for answer in answers:
        assert answer["detail"].startswith(f"{detail}, {answer['threads']} thread")
        assert answer["logits"] == expected["logits"], answer["detail"]
        assert answer["completions"] == expected["completions"], answer["detail"]


@pytest.mark.parametrize("build", ["relaxed", "simd"])
@pytest.mark.parametrize("host", TERMINALS)
def test_terminal(
    host: str,
    build: str,
    packages: dict[str, Path],
    hosts: Path,
    bundle: Path,
    expected: dict[str, Any],
    tmp_path: Path,
) -> None:
    answers = ask_terminal(host, packages[build], job(bundle.as_uri()), tmp_path)
    # Node 20 has no relaxed instructions, and takes the other build by itself
    check(answers, expected, THREADS, "SIMD" if host == "node 20" else RELAXED)


@pytest.mark.parametrize("build", ["relaxed", "simd"])
def test_chromium(build: str, site: Site, chromium: str, expected: dict[str, Any]) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        browser.new_page().goto(f"{site.url}/{build}.html")
        answers = json.loads(site.posted.get(timeout=120))
        browser.close()
    check(answers, expected, THREADS, RELAXED)


@pytest.mark.parametrize("build", ["relaxed", "simd"])
def test_firefox(
    build: str, site: Site, firefox: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    answers = ask_firefox(firefox, site, f"/{build}.html", tmp_path)
    check(answers, expected, THREADS, RELAXED)


@pytest.mark.parametrize("build", ["relaxed", "simd"])
def test_workerd(
    build: str, packages: dict[str, Path], site: Site, hosts: Path, expected: dict[str, Any]
) -> None:
    modules = {
        "worker.mjs": PROGRAMS / "edge_worker.mjs",
        "probe.mjs": PROGRAMS / "probe.mjs",
        "mlr.js": packages[build] / "workerd" / "testing.js",
        "kernel.wasm": packages[build] / "kernel-relaxed.wasm",
    }
    with workerd(modules) as url:
        answers = ask_workerd(url, job(f"{site.url}/bundle/", [1]))
    check(answers, expected, [1], RELAXED)
