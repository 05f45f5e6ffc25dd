"""A model whose every step the tests control, and a server with it on a real socket."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import uvicorn

from mlr.errors import EngineError
from mlr.generation import Completion, GenerationOptions, Timings, Token
from mlr.server.app import create_app
from mlr.server.process import bind, configure
from mlr.server.registry import Registry, ServedModel
from mlr.server.turns import Turns
from mlr.server.work import Work

CONTEXT = 1000
NO_PAGE = Path(__file__).parent  # the same answers whether the page has been built or not


@dataclass
class FakeModel:
    """Answers a prompt with its number of tokens, then `one two three …`, one word a token.

    A token is a character of the prompt. `delay` is the seconds a token takes; `fail_at` the
    token at which the engine breaks.
    """

    chat_template: str | None = None
    delay: float = 0.0
    fail_at: int | None = None
    running: int = 0
    closed_early: int = 0
    loads: int = 0  # after a failure
    prompts: list[list[int]] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    info: Any = field(
        default_factory=lambda: SimpleNamespace(
            context_length=CONTEXT, vocabulary_size=0x110000, engine="fake"
        )
    )
    tokenizer: Any = field(
        default_factory=lambda: SimpleNamespace(bos_id=2, eos_id=1, piece=lambda id: f"<{id}>")
    )

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        return [2] * add_special + [ord(letter) for letter in text]

    def detokenize(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def stream(self, prompt: Sequence[int], **options: Any) -> FakeStream:
        GenerationOptions.create(**options)  # the names and the ranges are the real ones
        self.prompts.append(list(prompt))
        self.options.append(options)
        return FakeStream(self, list(prompt), options["max_tokens"])

    def check_format(self, response_format: Any) -> None:
        pass

    async def close(self) -> None:
        pass

    def reset(self) -> None:
        """As good as new."""
        self.chat_template, self.delay, self.fail_at = None, 0.0, None
        self.closed_early = self.loads = 0
        self.prompts.clear()
        self.options.clear()


class FakeStream:
    """What `FakeModel.stream` gives."""

    def __init__(self, model: FakeModel, prompt: list[int], count: int) -> None:
        self.completion: Completion | None = None
        self._tokens = self._generate(model, prompt, count)

    def __aiter__(self) -> AsyncIterator[Token]:
        return self._tokens

    async def aclose(self) -> None:
        await self._tokens.aclose()  # type: ignore[attr-defined]

    async def _generate(
        self, model: FakeModel, prompt: list[int], count: int
    ) -> AsyncIterator[Token]:
        words = [str(len(prompt)), " one", "", " two", " three"]
        count = min(count, CONTEXT + 1 - len(prompt))
        model.running += 1
        assert model.running == 1, "two generations at once"
        texts = []
        ids = []
        try:
            for index in range(count):
                await asyncio.sleep(model.delay)
                if index == model.fail_at:
                    raise EngineError("the engine stopped: unreachable")
                texts.append(words[index] if index < len(words) else " x")
                ids.append(index)
                yield Token(index, texts[-1])
                if index == 4 and count < 100:
                    break
        except (asyncio.CancelledError, GeneratorExit):
            model.closed_early += 1
            raise
        finally:
            model.running -= 1
        reason = "length" if len(ids) == count else "stop"
        timings = Timings(1.0, 1.0, 1.0, 1.0)
        self.completion = Completion("".join(texts), ids, prompt, reason, None, timings)


class LiveServer:
    """The application on a socket, in a thread of its own."""

    def __init__(self, model: FakeModel, max_waiting: int = 2) -> None:
        self.model = model
        self.work = Work()
        self.served = ServedModel("fake", cast(Any, model), self._load, turns=Turns(max_waiting))
        listener = bind("127.0.0.1", 0)
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = uvicorn.Server(
            configure(create_app(Registry([self.served]), self.work, page_folder=NO_PAGE))
        )
        self._listener = listener
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve([self._listener])

    async def _load(self) -> Any:
        self.model.loads += 1
        return self.model

    def reset(self) -> None:
        """As good as new."""
        self.model.reset()
        self.served.engine_error = None

    def call(self, function: Callable[[], None]) -> None:
        """Call something in the server's own thread."""
        self._loop.call_soon_threadsafe(function)

    def __enter__(self) -> LiveServer:
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, trust_env=False)


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)
