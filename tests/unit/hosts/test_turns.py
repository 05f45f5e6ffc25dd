"""Callbacks that share a turn: in order, and no turn takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Any, TypeVarTuple

import pytest

from mlr.hosts.turns import TURN_SECONDS, Turns

Ts = TypeVarTuple("Ts")


class Page(asyncio.SelectorEventLoop):
    """A loop that counts the turns that are asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        self.asked += 1
        return super().call_soon(callback, *args, context=context)


class Clock:
    """Stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def page(clock: Clock) -> Iterator[Page]:
    loop = Page()
    Turns(loop, clock)
    yield loop
    loop.close()


def turn(page: Page) -> None:
    """Let the page have one turn, with all that it was asked for before."""
    page._run_once()  # type: ignore[attr-defined]


def test_callbacks_and_those_that_they_ask_for_share_a_turn(page: Page) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("first")
        page.call_soon(seen.append, "third")

    page.call_soon(first)
    page.call_soon(seen.append, "second")
    assert seen == []
    turn(page)
    assert seen == ["first", "second", "third"]
    assert page.asked == 1


def test_others_have_their_turn_when_a_turn_was_long(page: Page, clock: Clock) -> None:
    seen: list[str] = []

    def long() -> None:
        clock.now += 2 * TURN_SECONDS

    page.call_soon(long)
    page.call_soon(seen.append, "later")
    turn(page)
    assert seen == []
    turn(page)
    assert seen == ["later"]
    assert page.asked == 2


def test_a_new_turn_is_asked_for_once_nothing_was_left(page: Page) -> None:
    seen: list[int] = []
    for number in range(3):
        page.call_soon(seen.append, number)
        turn(page)
    assert seen == [0, 1, 2]
    assert page.asked == 3


def test_what_is_cancelled_is_not_called(page: Page) -> None:
    seen: list[int] = []
    page.call_soon(seen.append, 1).cancel()
    page.call_soon(seen.append, 2)
    turn(page)
    assert seen == [2]


def test_what_fails_does_not_stop_the_others(page: Page) -> None:
    seen: list[Any] = []
    page.set_exception_handler(lambda _loop, context: seen.append(context["exception"]))
    error = ValueError("broken")

    def fail(error: BaseException) -> None:
        raise error

    page.call_soon(fail, error)
    page.call_soon(fail, KeyboardInterrupt())
    page.call_soon(seen.append, 2)
    with pytest.raises(KeyboardInterrupt):
        turn(page)
    turn(page)
    assert seen == [error, 2]


def test_tasks_futures_and_cancellation_work_as_ever(page: Page, clock: Clock) -> None:
    async def count(to: int) -> int:
        for _ in range(to):
            await asyncio.sleep(0)
        return to

    async def main() -> list[Any]:
        stopped = asyncio.ensure_future(count(10**9))
        done = await asyncio.gather(count(1000), count(10))
        stopped.cancel()
        clock.now += 2 * TURN_SECONDS
        return [*done, *(await asyncio.gather(stopped, return_exceptions=True))]

    first, second, stopped = page.run_until_complete(main())
    assert (first, second) == (1000, 10)
    assert isinstance(stopped, asyncio.CancelledError)
    assert page.asked < 10
