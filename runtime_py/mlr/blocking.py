"""The blocking face of a model, for scripts: `load_sync`, `SyncModel`."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

from mlr.arguments import check_options
from mlr.embedding import Embeddings, Ranking, Text
from mlr.errors import EngineError, RequestError
from mlr.generation import Completion, Token, TokenStream
from mlr.model import Model, ModelInfo, load
from mlr.tokenizer import Tokenizer

__all__ = ["SyncModel", "load_sync"]

T = TypeVar("T")


class SyncModel:
    """The blocking face of a `Model`, for scripts: the same methods without `await`.

    It runs an event loop of its own, so it cannot be used inside a running one. Of several threads
    that use it, one waits until the call of another has returned.
    """

    def __init__(self, loop: _Loop, model: Model) -> None:
        self._loop = loop
        self._model = model
        model._scheduler.alone = True
        self._closed = False

    @property
    def info(self) -> ModelInfo:
        """What the model is and how it runs here."""
        return self._model.info

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._model.tokenizer

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        """Token ids of a text."""
        return self._model.tokenize(text, add_special=add_special)

    def detokenize(self, ids: Iterable[int]) -> str:
        """The text of token ids."""
        return self._model.detokenize(ids)

    def generate(self, prompt: str | Sequence[int], **options: Any) -> Completion:
        """Generate a whole completion; see `Model.generate`."""
        return self._loop.run(self._model.generate(prompt, **options))

    def stream(self, prompt: str | Sequence[int], **options: Any) -> SyncTokenStream:
        """Generate token by token; see `Model.stream`.

        A sequence is the stream's until that has been read to its end, is closed or dropped.
        Raises `RequestError` when none is left, since nobody could wait for one.
        """
        return SyncTokenStream(self._loop, self._model.stream(prompt, **options))

    def save_prompt(self, prompt: str | Sequence[int]) -> bytes:
        """The KV cache of a prompt as bytes; see `Model.save_prompt`."""
        return self._loop.run(self._model.save_prompt(prompt))

    def restore_prompt(self, saved: bytes) -> int:
        """Take what `save_prompt` gave; see `Model.restore_prompt`."""
        return self._loop.run(self._model.restore_prompt(saved))

    def embed(self, texts: str | Iterable[Text], **options: Any) -> Embeddings:
        """The embeddings of texts; see `Model.embed`."""
        return self._loop.run(self._model.embed(texts, **options))

    def rerank(self, query: Text, documents: Iterable[Text], **options: Any) -> Ranking:
        """Documents by how well they answer a query; see `Model.rerank`."""
        return self._loop.run(self._model.rerank(query, documents, **options))

    def close(self) -> None:
        """Free the engine and end the event loop. Safe to call twice."""
        if not self._closed:
            self._loop.run(self._model.close())
            self._closed = True
            self._loop.close()

    def __enter__(self) -> SyncModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class SyncTokenStream(Iterator[Token]):
    """A blocking iterator over the tokens of one generation; `close` stops it."""

    def __init__(self, loop: _Loop, tokens: TokenStream) -> None:
        self._loop, self._tokens = loop, tokens

    def __next__(self) -> Token:
        try:
            return self._loop.run(self._next())
        except StopAsyncIteration:
            raise StopIteration from None

    async def _next(self) -> Token:
        return await self._tokens.__anext__()

    def close(self) -> None:
        """Stop generating."""
        self._loop.run(self._tokens.aclose())

    @property
    def completion(self) -> Completion | None:
        """The completion, once the generation has ended."""
        return self._tokens.completion


class _Loop:
    """The event loop that blocking calls run in, from any thread but one at a time."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._lock = threading.Lock()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; refuse where an event loop is running already."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with self._lock:
                try:
                    self._runner.get_loop()
                except RuntimeError:  # it has been closed, with its model
                    coroutine.close()
                    raise EngineError("the model is closed; load it again") from None
                try:
                    return self._runner.run(coroutine)
                except KeyboardInterrupt:
                    self._take_a_turn()
                    raise
        coroutine.close()
        raise RequestError(
            "the blocking calls cannot be used inside a running event loop: "
            "use `await mlr.load(...)` and the methods of the model it gives"
        )

    def _take_a_turn(self) -> None:
        """Do what is still due. A Ctrl-C at the end of a call leaves there what ends that call,
        and would end the next one."""
        loop = self._runner.get_loop()
        loop.call_soon(loop.stop)
        loop.run_forever()

    def close(self) -> None:
        """End the loop. Safe to call twice."""
        with self._lock:
            self._runner.close()


def load_sync(location: str | os.PathLike[str], **options: Any) -> SyncModel:
    """Load a bundle and return its blocking face; takes what `load` takes.

    Raises `RequestError` inside a running event loop.
    """
    check_options(options, load)
    loop = _Loop()
    try:
        return SyncModel(loop, loop.run(load(location, **options)))
    except BaseException:
        loop.close()
        raise
