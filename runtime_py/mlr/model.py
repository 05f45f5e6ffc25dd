"""Loading a bundle and generating with it: `load`, `Model`."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mlr import hosts
from mlr.arguments import check_callback, check_memory_limit, check_options
from mlr.embedding import Embedder, Embeddings, Ranking, Text
from mlr.engines.base import Engine, MemoryReport
from mlr.engines.selector import select
from mlr.errors import BundleError, RequestError
from mlr.generation import (
    Completion,
    GenerationOptions,
    Run,
    Token,
    TokenStream,
    check_prompt,
)
from mlr.grammar.constraint import Constrainer
from mlr.hosts.base import Host, LoadProgress, ProgressCallback
from mlr.opening import EngineOptions, Source, open_engines
from mlr.scheduler import Scheduler
from mlr.speculation.draft import DraftModel, check_vocabulary
from mlr.tokenizer import Tokenizer, load_tokenizer
from mlr.tokenizer.ids import token_ids

if TYPE_CHECKING:
    from mlr.bundle.manifest import EmbeddingSettings, License, Variant
    from mlr.bundle.reader import Bundle
    from mlr.engines.kernel.instance import CacheType
    from mlr.formats.model_config import ModelConfig

__all__ = [
    "Event",
    "Loaded",
    "Model",
    "ModelInfo",
    "Unloaded",
    "load",
]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a loaded model is and how it runs here; `draft` is the model that guesses for it."""

    name: str
    architecture: str
    parameters: int
    quantization: str
    engine: str
    engine_detail: str
    threads: int
    context_length: int
    vocabulary_size: int
    memory: MemoryReport
    license: License
    load_ms: float
    has_chat_template: bool
    draft: ModelInfo | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model can now be used."""

    info: ModelInfo


@dataclass(frozen=True, slots=True)
class Unloaded:
    """A model has been closed and its memory freed."""

    info: ModelInfo


Event = LoadProgress | Loaded | Token | Completion | Unloaded
"""What `on_event` of `load` is called with, in this order over a model's life."""


class Model:
    """A loaded model. It runs as many generations at once as it was loaded with `sequences`;
    further ones wait for their turn."""

    def __init__(
        self,
        info: ModelInfo,
        engine: Engine,
        tokenizer: Tokenizer,
        host: Host,
        chat_template: str | None,
        config: ModelConfig,
        embedding: EmbeddingSettings | None,
        on_event: Callable[[Event], None] | None = None,
        draft: Engine | None = None,
        identity: bytes = b"",
    ) -> None:
        """`identity` differs between models whose saved prompts do not fit each other."""
        self.info = info
        self._identity = identity
        self._on_event = on_event
        self._closed = False
        self.tokenizer = tokenizer
        self.chat_template = chat_template
        self.engine = engine
        self._host = host
        self._scheduler = Scheduler(engine, host)
        self._draft = None if draft is None else DraftModel(draft, engine.vocabulary_size)
        self._constrainer = Constrainer(tokenizer, engine.vocabulary_size)
        self._embedder = Embedder(engine, tokenizer, host, self._scheduler, config, embedding)

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        """Token ids of a text, with the model's own begin token unless `add_special` is False."""
        if not isinstance(text, str):
            raise RequestError(f"only a text can be tokenized, got {text!r:.60}")
        return self.tokenizer.encode(text, add_special=add_special)

    def detokenize(self, ids: Iterable[int]) -> str:
        """The text of token ids, special tokens left out."""
        return self.tokenizer.decode(token_ids(ids, "what is detokenized", "token ids"))

    def stream(self, prompt: str | Sequence[int], **options: Any) -> TokenStream:
        """Generate token by token.

        `prompt` is a text (the model's begin token is added) or token ids (taken as they are).
        Options and defaults: max_tokens 128, stop (), temperature 0 (greedy), top_k 0, top_p 1,
        min_p 0, repeat_penalty 1, repeat_last_n 64, frequency_penalty 0, presence_penalty 0, seed
        None (drawn), logprobs None (else how many of the likeliest tokens are wanted beside each
        token, 0 to 20), response_format None (else what `Constrainer.start` takes), on_full
        "stop" ("shift" drops the older half of a full context and goes on), speculate "draft"
        (guesses with the draft model, if there is one; "lookup" guesses from repetitions, None
        does not guess; it changes nothing but the speed). See `TokenStream`. Raises `RequestError`
        for an option out of range or unknown, its form `GrammarError` for a schema or grammar that
        is not supported, and `ContextLengthError` for a prompt longer than the context.
        """
        check_options(options, GenerationOptions.create)
        checked = GenerationOptions.create(**options)
        self._check_generates()
        constraint = self._constrainer.start(checked.response_format)
        run = Run(
            self.engine,
            self.tokenizer,
            self._scheduler,
            self._ids(prompt),
            checked,
            constraint,
            self._draft,
            self.info.load_ms,
            self._notify,
        )
        return TokenStream(run)

    def _check_generates(self) -> None:
        if not self._embedder.generates:
            raise RequestError("this model makes embeddings, and no text")

    def _ids(self, prompt: str | Sequence[int]) -> list[int]:
        return self.tokenize(prompt) if isinstance(prompt, str) else token_ids(prompt, "a prompt")

    async def save_prompt(self, prompt: str | Sequence[int]) -> bytes:
        """The KV cache of a prompt, as bytes for `restore_prompt`; raises what `stream` raises."""
        from mlr.saved_prompt import save_prompt

        self._check_generates()
        ids = self._ids(prompt)
        check_prompt(ids, self.engine)
        return await save_prompt(self._scheduler, self._identity, ids)

    async def restore_prompt(self, saved: bytes) -> int:
        """Take what `save_prompt` gave, in another load of the same bundle with the same `kv_type`.

        Prompts that begin with the one saved are evaluated from its end, as long as its sequence
        is not needed for others. Returns its number of tokens. Raises `RequestError` for bytes of
        another model or kind of cache, or damaged ones, and while every sequence is in use,
        `ContextLengthError` for more tokens than the context holds.
        """
        from mlr.saved_prompt import restore_prompt

        if not isinstance(saved, bytes):
            raise RequestError(f"a saved prompt must be bytes, got {saved!r:.60}")
        return await restore_prompt(self._scheduler, self._identity, saved, self.engine)

    async def embed(self, texts: str | Iterable[Text], **options: Any) -> Embeddings:
        """The embeddings of texts; options and errors as in `Embedder.embed`."""
        check_options(options, self._embedder.embed)
        return await self._embedder.embed(texts, **options)

    async def rerank(self, query: Text, documents: Iterable[Text], **options: Any) -> Ranking:
        """Documents by how well they answer a query; see `Embedder.rank`."""
        check_options(options, self._embedder.rank)
        return await self._embedder.rank(query, documents, **options)

    def check_format(self, response_format: Any) -> None:
        """Raise what `stream` would raise for a response format, or for any on this model.

        It takes a while for a large schema, and `stream` is quick after it.
        """
        self._check_generates()
        self._constrainer.start(response_format)

    def _notify(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)

    async def generate(self, prompt: str | Sequence[int], **options: Any) -> Completion:
        """Generate a whole completion; takes what `stream` takes."""
        async with self.stream(prompt, **options) as tokens:
            async for _ in tokens:
                pass
        assert tokens.completion is not None
        return tokens.completion

    async def close(self) -> None:
        """End every generation and free the engine. Safe to call twice."""
        await self._scheduler.close()
        if self._draft is not None:
            await self._host.run(self._draft.engine.close)
        if not self._closed:
            self._closed = True
            self._notify(Unloaded(self.info))

    async def __aenter__(self) -> Model:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def load(
    location: str | os.PathLike[str],
    *,
    engine: str = "auto",
    threads: int | None = None,
    context_length: int | None = None,
    sequences: int = 1,
    kv_type: CacheType = "q16",
    pooling: str | None = None,
    memory_limit: int | None = None,
    draft: str | os.PathLike[str] | None = None,
    on_progress: ProgressCallback | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Model:
    """Load a bundle from a folder or a URL.

    `threads` defaults to the cores there are (at most 8), `context_length` to the model's but at
    most 4096 tokens. `sequences` is how many generations can run at once, each with a KV cache of
    that length; `kv_type` "q8" holds it in 8 bits, in about half the memory. `pooling` makes
    embeddings in another way than the model's files say: "last" of a decoder, "mean" or "cls" of
    an encoder. `memory_limit` (bytes) refuses a model that is predicted to need more.
    `draft` is the bundle of a smaller model with the same vocabulary, which guesses tokens that
    this one then confirms several at a time: the same text, for every seed, and sooner where the
    guesses are good and much cheaper. The memory limit holds for both together.
    `on_progress` is called with `LoadProgress`; `on_event` with that and with what follows in the
    model's life: `Loaded`, each `Token`, each `Completion`, `Unloaded`. Raises `LoadError` in one
    of its forms
    (`ManifestError`, `IntegrityError`, `FetchError`, `StorageError`, `CapacityError`,
    `UnsupportedModelError`, `TokenizerError`) and `RequestError` for a wrong argument.
    """
    from mlr.bundle.reader import open_bundle

    start = time.perf_counter()
    check_memory_limit(memory_limit)
    check_callback(on_progress, "on_progress")
    check_callback(on_event, "on_event")
    host = hosts.current()
    bundle = await open_bundle(location, host)
    manifest = bundle.manifest
    engine_name, variant = select(manifest, engine)
    if pooling is not None:
        variant = _with_pooling(variant, pooling)
    tokenizer_task = asyncio.ensure_future(_read_tokenizer(bundle, host))
    options = EngineOptions(engine_name, threads, context_length, sequences, kv_type, memory_limit)
    source = Source(bundle, variant)
    engines: list[Engine] = []
    try:
        chat_template = await _read_template(bundle)
        sources = [source]
        if draft is not None:
            sources.append(await _open_draft(draft, engine_name, source, tokenizer_task, host))
        engines = await open_engines(sources, host, options, _both(on_progress, on_event))
        tokenizer = await tokenizer_task
    except BaseException:
        for opened in engines:
            opened.close()
        tokenizer_task.cancel()
        with suppress(BaseException):
            await tokenizer_task
        raise
    load_ms = (time.perf_counter() - start) * 1e3
    infos = [_info(*pair, load_ms) for pair in zip(sources, engines, strict=True)]
    info = dataclasses.replace(infos[0], draft=infos[1]) if draft is not None else infos[0]
    model = Model(
        info,
        engines[0],
        tokenizer,
        host,
        chat_template,
        variant.config,
        manifest.embedding,
        on_event,
        engines[1] if draft is not None else None,
        "".join([kv_type, *(shard.sha256 for shard in variant.shards)]).encode(),
    )
    if on_event is not None:
        on_event(Loaded(info))
    return model


async def _open_draft(
    location: str | os.PathLike[str],
    engine: str,
    target: Source,
    tokenizer: asyncio.Task[Tokenizer],
    host: Host,
) -> Source:
    """The bundle of a draft model. Raises `RequestError` where its vocabulary is another."""
    from mlr.bundle.reader import open_bundle

    bundle = await open_bundle(location, host)
    if bundle.manifest.tokenizer.sha256 != target.bundle.manifest.tokenizer.sha256:
        check_vocabulary(await tokenizer, await _read_tokenizer(bundle, host))
    return Source(bundle, select(bundle.manifest, engine)[1])


def _with_pooling(variant: Variant, pooling: str) -> Variant:
    known = ("last",) if variant.config.causal else ("mean", "cls")
    if pooling not in known:
        raise RequestError(f"this model's pooling can be {' or '.join(known)}, not {pooling!r:.40}")
    config = dataclasses.replace(variant.config, pooling=pooling)
    return dataclasses.replace(variant, config=config)


def _both(
    on_progress: ProgressCallback | None, on_event: Callable[[Event], None] | None
) -> ProgressCallback | None:
    if on_progress is None or on_event is None:
        return on_progress or on_event

    def notify(progress: LoadProgress) -> None:
        on_progress(progress)
        on_event(progress)

    return notify


async def _read_template(bundle: Bundle) -> str | None:
    entry = bundle.manifest.chat_template
    if entry is None:
        return None
    try:
        return (await bundle.read_file(entry)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{bundle.place(entry.file)}: is not UTF-8: byte {error.start}") from None


async def _read_tokenizer(bundle: Bundle, host: Host) -> Tokenizer:
    entry = bundle.manifest.tokenizer
    data = await bundle.read_file(entry)
    tokenizer = await host.run(load_tokenizer, entry.format, data)
    del data
    host.give_memory_back()  # reading took several times what the tokenizer takes
    return tokenizer


def _info(source: Source, engine: Engine, load_ms: float) -> ModelInfo:
    manifest = source.bundle.manifest
    return ModelInfo(
        name=manifest.name,
        architecture=manifest.architecture,
        parameters=manifest.parameters,
        quantization=source.variant.quantization,
        engine=engine.name,
        engine_detail=engine.detail,
        threads=engine.threads,
        context_length=engine.context_length,
        vocabulary_size=engine.vocabulary_size,
        memory=engine.memory,
        license=manifest.license,
        load_ms=load_ms,
        has_chat_template=manifest.chat_template is not None,
    )
