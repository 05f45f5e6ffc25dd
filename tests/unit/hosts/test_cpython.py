"""The CPython host."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mlr.hosts.cpython import CPythonHost


def test_run_returns_what_the_call_returns() -> None:
    assert asyncio.run(CPythonHost().run(divmod, 7, 2)) == (3, 1)


def test_run_raises_what_the_call_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(CPythonHost().run(divmod, 7, 0))


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_run_waits_for_its_call(fails: bool) -> None:
    """Or the next caller would use an engine that is still computing."""
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        started.set()
        release.wait(10)
        ended.set()
        if fails:
            raise ValueError

    async def scenario() -> None:
        task = asyncio.create_task(CPythonHost().run(call))
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        await asyncio.sleep(0.05)
        task.cancel()  # a second time, while it is waiting
        await asyncio.sleep(0.05)
        assert not task.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(scenario())
