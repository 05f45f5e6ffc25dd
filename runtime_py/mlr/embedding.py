"""Texts to vectors, and documents by how well they answer a query."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mlr.engines.base import Engine
from mlr.errors import ContextLengthError, RequestError
from mlr.hosts.base import Host
from mlr.pairs import Pair, join_pair
from mlr.scheduler import Scheduler
from mlr.tokenizer import Tokenizer
from mlr.tokenizer.ids import token_ids

if TYPE_CHECKING:
    from mlr.bundle.manifest import EmbeddingSettings
    from mlr.formats.model_config import ModelConfig

__all__ = ["Embedder", "Embeddings", "Ranked", "Ranking"]

Text = str | Sequence[int]

# What sentence-transformers calls the prompts of a search, the usual names first.
QUERY_PROMPTS = ("query",)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector for each text, in their order.

    `tokens` is how many were evaluated; `truncated` are the indices of texts that were cut.
    """

    vectors: list[list[float]]
    tokens: int
    truncated: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document's place among those given, and its relevance.

    That is the cosine to the query, or what a model that ranks says of the pair: the sigmoid of
    its score, between 0 and 1.
    """

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents, the most relevant first; `tokens` and `truncated` as in `Embeddings`."""

    results: list[Ranked]
    tokens: int
    truncated: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    ids: list[list[int]]
    truncated: tuple[int, ...]


class Embedder:
    """What makes embeddings with a loaded model."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        host: Host,
        scheduler: Scheduler,
        config: ModelConfig,
        settings: EmbeddingSettings | None,
    ) -> None:
        self._engine, self._tokenizer, self._host = engine, tokenizer, host
        self._scheduler = scheduler
        self._config = config
        self._prompts = settings.prompts if settings else {}
        self._default_prompt = settings.default_prompt if settings else None
        longest = settings.max_tokens if settings else None
        self.max_tokens = min(engine.context_length, longest or engine.context_length)

    @property
    def generates(self) -> bool:
        """Whether the model continues texts. One that makes embeddings does not, since both
        would use the same sequences."""
        return self._config.pooling == "none"

    async def embed(
        self,
        texts: str | Iterable[Text],
        *,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
    ) -> Embeddings:
        """The embeddings of texts, or of lists of token ids, which are taken as they are.

        `normalize` None does as the model's files say. `prompt_name` names a prompt of the
        model's files to put in front. A text longer than `max_tokens` is cut, or refused if
        `truncate` is False. Raises `RequestError`, and `ContextLengthError` for a long text.
        """
        self._require_embeddings()
        if normalize is False and self._config.normalize_embeddings:
            raise RequestError(
                "normalize=False is not possible: this model's embeddings have the length 1"
            )
        given = [texts] if isinstance(texts, str) else _several(texts, "texts")
        prompt = self._prompt(prompt_name)
        prepared = await self._host.run(self._prepare, given, prompt, truncate)
        vectors = await self._evaluate(prepared.ids)
        if normalize and not self._config.normalize_embeddings:
            vectors = [_unit(vector) for vector in vectors]
        return Embeddings(vectors, sum(map(len, prepared.ids)), prepared.truncated)

    async def rank(
        self, query: Text, documents: Iterable[Text], *, truncate: bool = True
    ) -> Ranking:
        """The documents, best first: by what the model says of each with the query if it ranks
        pairs of texts, else by the cosine of their embeddings to the query's.

        For embeddings the model's own prompts for queries and documents are put in front, where
        it has them. To a model that ranks, token ids are a text without special tokens.
        """
        given = _several(documents, "documents")
        if self._config.pooling == "rank":
            return await self._rank_pairs(query, given, truncate)
        self._require_embeddings()
        asked = await self._host.run(
            self._prepare, [query], self._usual_prompt(QUERY_PROMPTS), truncate
        )
        prepared = await self._host.run(
            self._prepare, given, self._usual_prompt(DOCUMENT_PROMPTS), truncate
        )
        first, *rest = map(_unit, await self._evaluate(asked.ids + prepared.ids))
        results = [
            Ranked(index, math.fsum(a * b for a, b in zip(first, vector, strict=True)))
            for index, vector in enumerate(rest)
        ]
        results.sort(key=lambda result: -result.score)
        tokens = sum(map(len, asked.ids)) + sum(map(len, prepared.ids))
        return Ranking(results, tokens, prepared.truncated)

    async def _rank_pairs(self, query: Text, documents: list[Text], truncate: bool) -> Ranking:
        pairs = await self._host.run(self._join, query, documents, truncate)
        scores = await self._evaluate([pair.ids for pair in pairs], [pair.second for pair in pairs])
        results = [Ranked(index, _sigmoid(score)) for index, (score,) in enumerate(scores)]
        results.sort(key=lambda result: -result.score)
        cut = tuple(i for i, pair in enumerate(pairs) if pair.length > len(pair.ids))
        return Ranking(results, sum(len(pair.ids) for pair in pairs), cut)

    def _join(self, query: Text, documents: list[Text], truncate: bool) -> list[Pair]:
        if self._config.causal:
            raise RequestError("decoders that rank pairs of texts are not supported")
        around = self._tokenizer.pair_surroundings()
        first, *others = (
            self._tokenizer.encode(text, add_special=False)
            if isinstance(text, str)
            else token_ids(text, "a query or document")
            for text in (query, *documents)
        )
        pairs = [join_pair(around, first, other, self.max_tokens) for other in others]
        for index, pair in enumerate(pairs):
            if not truncate and pair.length > self.max_tokens:
                raise ContextLengthError(
                    f"text {index} has {pair.length} tokens with the query; this model takes "
                    f"{self.max_tokens}: shorten it, or let it be cut (truncate)"
                )
        return pairs

    def _require_embeddings(self) -> None:
        if self._config.pooling == "none":
            raise RequestError(
                "this model gives no embeddings: its files name no pooling; load it with "
                "pooling='last' (mlr embed: --pooling last) to take the last token's hidden state "
                "anyway"
            )
        if self._config.pooling == "rank":
            raise RequestError("this model gives no embeddings: it ranks pairs of texts (rerank)")

    def _prompt(self, name: str | None) -> str:
        name = self._default_prompt if name is None else name
        if name is None:
            return ""
        if not isinstance(name, str) or name not in self._prompts:
            known = ", ".join(map(repr, self._prompts)) or "none"
            raise RequestError(f"there is no prompt {name!r:.60}; this model's prompts: {known}")
        return self._prompts[name]

    def _usual_prompt(self, names: tuple[str, ...]) -> str:
        name = next((name for name in names if name in self._prompts), None)
        return self._prompt(name)

    def _prepare(self, texts: Sequence[Text], prompt: str, truncate: bool) -> _Prepared:
        found: list[list[int]] = []
        cut: list[int] = []
        for index, text in enumerate(texts):
            if isinstance(text, str):
                ids = self._tokenizer.encode(prompt + text)
            else:
                ids = token_ids(text, f"text {index}")
            if not ids:
                raise RequestError(f"text {index} has no tokens, so it has no embedding")
            if len(ids) > self.max_tokens:
                if not truncate:
                    raise ContextLengthError(
                        f"text {index} has {len(ids)} tokens; this model takes {self.max_tokens}: "
                        "shorten it, or let it be cut (truncate)"
                    )
                ids = self._cut(ids, isinstance(text, str))
                cut.append(index)
            found.append(ids)
        return _Prepared(found, tuple(cut))

    def _cut(self, ids: list[int], surrounded: bool) -> list[int]:
        """The first tokens; those that belong after a text stay at its end."""
        after = self._tokenizer.surroundings()[1] if surrounded else []
        kept = max(self.max_tokens - len(after), 0)
        return (ids[:kept] + after)[: self.max_tokens]

    async def _evaluate(
        self, texts: list[list[int]], seconds: list[int] | None = None
    ) -> list[list[float]]:
        """Passes of whole texts side by side, as many as fit; in between others use the engine."""
        vectors: list[list[float]] = []
        for part in _passes(texts, self._engine.batch):
            begin = len(vectors)
            places = seconds[begin : begin + len(part)] if seconds is not None else None
            embed = partial(self._engine.embed, part, seconds=places)
            vectors += [
                list(map(float, vector)) for vector in await self._scheduler.exclusively(embed)
            ]
        return vectors


def _passes(texts: list[list[int]], batch: int) -> list[list[list[int]]]:
    passes: list[list[list[int]]] = []
    room = 0
    for text in texts:
        if len(text) > room or not passes:
            passes.append([])
            room = batch
        passes[-1].append(text)
        room -= len(text)
    return passes


def _sigmoid(score: float) -> float:
    """1 / (1 + e^-score), which does not overflow."""
    small = math.exp(-abs(score))
    return 1.0 / (1.0 + small) if score >= 0.0 else small / (1.0 + small)


def _several(texts: Any, name: str) -> list[Text]:
    """Texts as a list. One text would be taken for a list of its characters."""
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise RequestError(f"{name} must be a list of texts or of token ids, got {texts!r:.60}")
    return list(texts)


def _unit(vector: list[float]) -> list[float]:
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length else vector
