"""A model whose engine trapped behind the handler is loaded again with the next request."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.edge.serving import serve
from tests.edge.test_faults import CORRUPTING, begun
from tests.support.bundles import package as package_bundle

TRAPS = list(range(30, 43))  # a pass of 13 tokens, which CORRUPTING waits for
FINE = [3, 4, 5]


@pytest.mark.parametrize("stream", [False, True])
def test_a_trap(stream: bool, package: Path, hosts: Path, tmp_path: Path) -> None:
    broken = begun(package, tmp_path, "node/worker.js", CORRUPTING)
    bundle = package_bundle(tmp_path)

    with serve("node 20", bundle, broken, 192) as url, httpx.Client(timeout=60) as client:

        def ask(prompt: list[int], stream: bool = False) -> httpx.Response:
            body = {"model": "tiny", "prompt": prompt, "max_tokens": 4, "temperature": 0}
            return client.post(f"{url}/v1/completions", json=body | {"stream": stream})

        before = ask(FINE).json()["choices"]
        for _ in range(2):
            assert "mlr_eval failed in the kernel" in ask(TRAPS, stream).text
            assert ask(FINE).json()["choices"] == before


def test_a_trap_in_the_middle_of_a_stream(package: Path, hosts: Path, tmp_path: Path) -> None:
    """The status has been sent; the error is the last event."""
    corrupting = CORRUPTING.replace("count === 13", "(++passes === 4)")
    broken = begun(package, tmp_path, "node/worker.js", f"let passes = 0;{corrupting}")
    bundle = package_bundle(tmp_path)
    body = {"model": "tiny", "prompt": FINE, "max_tokens": 9, "temperature": 0, "stream": True}
    with serve("node 20", bundle, broken, 192) as url, httpx.Client(timeout=60) as client:
        for _ in range(2):  # each model's fourth pass
            answer = client.post(f"{url}/v1/completions", json=body)
            assert answer.status_code == 200
            assert "mlr_eval failed in the kernel" in answer.text
            assert "[DONE]" not in answer.text
            assert answer.text.count("data: ") > 1
