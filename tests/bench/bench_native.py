"""mlr's kernel under wasmtime against llama.cpp, compiled for this machine.

    python -m tests.bench.bench_native [MODEL.gguf] [--threads 1 2] [--repeats 3] [--json]

in the repository's root; the demo model when none is named. Both get the same file, the same token
ids and the same number of threads, and take turns. Also measured, in the same turns: how fast this
machine reads memory in WebAssembly, which bounds decoding, since every token reads nearly every
weight. What several threads gain is each engine's own. Without llama-cpp-python (`make
test-oracles` installs it) mlr is measured alone.
"""

from __future__ import annotations

from importlib.metadata import version

from mlr.engines.base import Sampling
from mlr.engines.kernel.engine import KernelEngine
from tests.bench.measure import Row, machine, report
from tests.bench.native_llama import LLAMA_CPP_NOTE, native_llama
from tests.bench.streaming import seconds, wasmtime_stream
from tests.bench.turns import CONTEXT, Prompt, describe, options_parser, take_turns
from tests.support.kernels import open_kernel


def main() -> None:
    """Measure and print."""
    options = options_parser(__doc__.splitlines()[0]).parse_args()
    rows: list[Row] = []
    notes = []
    for threads in options.threads:
        with (
            open_kernel(options.model, context_length=CONTEXT, threads=threads) as kernel,
            native_llama(options.model, threads) as peers,
            wasmtime_stream(threads) as stream,
        ):
            measured, note = take_turns({"mlr": Mlr(kernel), **peers}, stream, options, threads)
        rows += measured
        notes.append(note)
    report(
        "mlr under wasmtime against llama.cpp, native; tokens a second",
        rows,
        [
            *notes,
            *describe(options),
            LLAMA_CPP_NOTE,
            f"{options.model.name}; wasmtime {version('wasmtime')}; {machine()}",
        ],
        as_json=options.json,
    )


class Mlr:
    """The kernel engine, timed."""

    def __init__(self, engine: KernelEngine) -> None:
        self._engine = engine
        engine.configure(Sampling())

    def prefill(self, prompt: Prompt) -> float:
        """Prompt tokens a second, up to the logits after the last one."""
        self._engine.truncate(0)
        return len(prompt.tokens) / seconds(lambda: self._engine.evaluate(prompt.tokens))

    def decode(self, prompt: Prompt, count: int) -> float:
        """Greedy tokens a second after a prompt."""
        self.prefill(prompt)

        def run() -> None:
            for _ in range(count):
                self._engine.evaluate([self._engine.sample()])

        return count / seconds(run)


if __name__ == "__main__":
    main()
