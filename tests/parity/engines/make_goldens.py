"""Make the golden files: what llama.cpp computes, for tests that cannot install it.

    python -m tests.parity.engines.make_goldens MODEL.gguf

in the repository's root, with llama-cpp-python installed (`make test-oracles` installs it);
MODEL.gguf is the demo model. The files say which version made them and from which bytes. It
takes two to three minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.llama_oracle import F32, forced, greedy, logits_at_every_token, open_model
from tests.support.tiny_cases import FLOAT_CASES, POSITIONS, TOKENS, TYPE_CASES, digest

GOLDEN = Path(__file__).parent / "golden"
STEPS = 64  # tokens decoded from each prompt
TOP = 20  # logits kept of each step
CONTEXT = 512

ENGLISH = (
    "The lighthouse had stood on the headland for two hundred years before anyone thought to "
    "ask who had built it. Fishermen steered by it, gulls nested in it, and the village below "
    "told its children that it had grown there, like a tree. Then a letter came from the county "
    "archive, and with it a bill of sale, a list of masons, and the name of a woman whom nobody "
    "remembered. "
)
# llama.cpp differs from itself when the order of its sums changes: a difference in the last bit
# makes an activation round to the next of its 8-bit values, and from there it grows. These runs
# measure how far. Each is a setting of llama.cpp's that is not meant to change the result.
VARIATIONS: dict[str, dict[str, Any]] = {
    "token by token": {"n_batch": 1},
    "float32 cache": {"type_k": F32, "type_v": F32},
    "flash attention": {"flash_attn": True},
}

PROMPTS = {
    "one word": "The",
    "english": "The capital of France is Paris, and the capital of Japan is",
    "code": "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "list": "1. apple\n2. banana\n3. cherry\n4.",
    "german": "Die Donau entspringt im Schwarzwald und fließt",
    "japanese": "日本で一番高い山は富士山です。その高さは",
    "arabic": "تقع مدينة القاهرة على ضفاف نهر",
    "hindi and emoji": "भारत की राजधानी नई दिल्ली है 🇮🇳. भारत में",
    "counting": "one, two, three, four, five, six, seven,",
    "constitution": "We the People of the United States, in Order to form a more perfect",
    "lorem ipsum": "Lorem ipsum dolor sit amet, consectetur",
    "alphabet": "A for a, B for b, C for c, D for d, E for e,",
    "long": ENGLISH * 4 + "Her name was",
}


def main() -> None:
    """Write `golden/demo.json` and `golden/tiny.npz`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="the demo model, a GGUF file")
    arguments = parser.parse_args()
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        # Any: for all mypy knows, one of the names could be that of an option, a bool.
        arrays: dict[str, Any] = {**tiny_goldens(Path(folder))}
        np.savez_compressed(GOLDEN / "tiny.npz", **arrays)
    demo = json.dumps(demo_goldens(arguments.model), ensure_ascii=False, separators=(",", ":"))
    # A line per prompt, so that a change can be read.
    (GOLDEN / "demo.json").write_text(demo.replace('{"name"', '\n{"name"') + "\n")
    for path in sorted(GOLDEN.iterdir()):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


def demo_goldens(model_path: Path) -> dict[str, Any]:
    """Greedy decoding of every prompt, and how far llama.cpp's own variations are from it."""
    import llama_cpp

    prompts = []
    with open_model(model_path, CONTEXT) as model:
        for name, text in PROMPTS.items():
            ids = model.tokenize(text.encode())
            steps = [top_logits(logits) for logits in greedy(model, ids, STEPS)]
            prompts.append({"name": name, "text": text, "prompt_ids": ids, "steps": steps})
    for prompt in prompts:
        prompt["variations"] = {}
    for variation, options in VARIATIONS.items():
        with open_model(model_path, CONTEXT, **options) as model:
            for prompt in prompts:
                logits = forced(model, prompt["prompt_ids"], chosen(prompt["steps"]))
                prompt["variations"][variation] = compare(prompt["steps"], logits)
    return {
        "made_by": f"llama-cpp-python {llama_cpp.__version__}",
        "model_sha256": digest(model_path),
        "prompts": prompts,
    }


def top_logits(logits: np.ndarray) -> list[tuple[int, float]]:
    """(id, logit) of the highest logits, the highest first, ties by id."""
    best = np.argsort(-logits, kind="stable")[:TOP]
    return [(int(i), round(float(logits[i]), 4)) for i in best]


def chosen(steps: list[list[tuple[int, float]]]) -> list[int]:
    """The ids that were decoded."""
    return [step[0][0] for step in steps]


def compare(steps: list[list[tuple[int, float]]], logits: np.ndarray) -> dict[str, Any]:
    """How far `logits` (steps, n_vocab) are from the logits kept in `steps`.

    `rms` and `max` of the differences; `overturned`: the steps at which another id is highest,
    with how far it was behind (None: not among those kept).
    """
    differences, overturned = [], []
    for number, (step, row) in enumerate(zip(steps, logits, strict=True)):
        kept, best = dict(step), int(row.argmax())
        differences += [row[token] - logit for token, logit in step]
        if best != step[0][0]:
            behind = round(step[0][1] - kept[best], 4) if best in kept else None
            overturned.append((number, best, behind))
    rms, most = np.sqrt(np.mean(np.square(differences))), np.max(np.abs(differences))
    return {"rms": round(float(rms), 4), "max": round(float(most), 4), "overturned": overturned}


def tiny_goldens(folder: Path) -> dict[str, np.ndarray]:
    """Full logits of the tiny models at a few positions, with the files' SHA-256."""
    arrays = {}
    for group, cases in (("types", TYPE_CASES), ("floats", FLOAT_CASES)):
        for case in cases:
            path = case.build(folder)
            logits = logits_at_every_token(path, TOKENS)
            arrays[f"{group}/{case.name}"] = logits[POSITIONS[group]]
            arrays[f"{group}/{case.name}/sha256"] = np.array(digest(path))
    return arrays


if __name__ == "__main__":
    main()
