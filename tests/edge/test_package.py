"""What is in the npm package: sizes, types, and nothing that needs a compiler at run time."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.edge.hosts import node

KB = 1000
COLD_START_BUDGET = 600 * KB  # compressed: all that a page fetches besides the bundle
SCRIPTS = ("mlr.js", "worker.js", "thread.js")

PROGRAM = """
import { load, MlrError, type Completion, type Embeddings, type Model, type Token } from "mlr";
import { createHandler, type Handler } from "mlr/handler";

const model: Model = await load("bundle", {
  threads: 1,
  signal: AbortSignal.timeout(1),
  onProgress: ({ stage, done, total }) => stage.length * (done / total),
});
const done: Completion = await model.generate({ messages: [{ role: "user", content: "Hi" }] });
for await (const token of model.stream([1, 2], { stop: ["."], seed: 1, logprobs: 2 })) take(token);
const bytes: Uint8Array[] = await model.tokenBytes(done.tokenIds);
const { text }: Completion = await model.generate("a", { seed: 2n ** 64n - BigInt(bytes.length) });
const { vectors, truncated }: Embeddings = await model.embed(["a"], { promptName: "query" });
const count = vectors.length - truncated.length;
const handler: Handler = createHandler({ id: "mine", load: () => load("bundle"), cors: "*" });
const status: number = (await handler(new Request("https://a/v1/models"))).status;
const code: string = new MlrError("FetchError", done.text + text + count + status).code;

function take(token: Token): string {
  return token.text + token.topLogprobs.map(({ logprob }) => logprob).join() + code;
}
"""


@pytest.mark.parametrize("build", ["relaxed", "simd"])
def test_cold_start(build: str, package: Path) -> None:
    files = [*(package / "browser" / name for name in SCRIPTS), package / f"kernel-{build}.wasm"]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < COLD_START_BUDGET


def test_bundlers_find_every_file(package: Path) -> None:
    """Vite and webpack know a file by this form only, and give it another name and place."""
    scripts = [path.read_text("utf-8") for path in (package / "browser").glob("*.js")]
    found = set()
    for script in scripts:
        named = re.findall(r'new URL\("(\.[^"]+)",import\.meta\.url\)', script)
        assert script.count("import.meta") == len(named)
        found |= {(package / "browser" / name).resolve() for name in named}
    workers = [package / "browser" / name for name in SCRIPTS[1:]]
    assert found == {*workers, *package.glob("*.wasm")}
    for worker in workers:
        started = f'new Worker(new URL("./{worker.name}",import.meta.url),{{type:"module"}})'
        assert any(started in script for script in scripts)


def test_what_is_published_is_what_is_used(package: Path) -> None:
    packed = subprocess.run(
        ["npm", "pack", "--dry-run", "--json"], cwd=package, capture_output=True, check=True
    )
    (listed,) = json.loads(packed.stdout)
    names = {entry["path"] for entry in listed["files"]}
    there = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert names == {name for name in there if not name.endswith("/testing.js")}


def test_no_code_is_made_from_text(package: Path) -> None:
    """Edge workers and strict pages refuse `eval` and `new Function`."""
    for name in ("browser/worker.js", "workerd/mlr.js"):
        script = (package / name).read_text(encoding="utf-8")
        assert "eval(" not in script
        assert "new Function(" not in script


def test_nothing_runs_before_the_first_request(package: Path, hosts: Path) -> None:
    """Edge workers refuse timers, signals and random numbers while a script is being loaded."""
    program = """
        const [, ...scripts] = process.argv;
        const refuse = () => { throw new Error("not in the global scope"); };
        class Refused { constructor() { refuse(); } }
        AbortSignal.timeout = AbortSignal.any = refuse;
        Object.assign(globalThis, { AbortController: Refused, fetch: refuse, setTimeout: refuse });
        crypto.getRandomValues = crypto.randomUUID = refuse;
        for (const script of scripts) await import(script);
    """
    scripts = [(package / name).as_uri() for name in ("workerd/mlr.js", "handler.js")]
    command = [node(24), "--input-type=module", "--eval", program, *scripts]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("resolution", ["bundler", "nodenext"])
def test_types(resolution: str, package: Path, hosts: Path, tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "mlr").symlink_to(package)
    (tmp_path / "program.mts").write_text(PROGRAM, encoding="utf-8")
    module = "esnext" if resolution == "bundler" else "nodenext"
    options = {
        "compilerOptions": {
            "strict": True,
            "noEmit": True,
            "skipLibCheck": True,
            "exactOptionalPropertyTypes": True,
            "target": "es2022",
            "lib": ["es2023", "dom", "dom.asynciterable"],
            "types": [],
            "module": module,
            "moduleResolution": resolution,
        },
        "files": ["program.mts"],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(options), encoding="utf-8")
    tsc = ROOT / "web" / "node_modules" / "typescript" / "bin" / "tsc"
    run = subprocess.run(
        [node(24), str(tsc), "-p", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout
