"""`POST /v1/embeddings` and `POST /v1/rerank`."""

from __future__ import annotations

import base64
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mlr.embedding import Embeddings, Ranking
from mlr.server.body import read_object
from mlr.server.errors import ApiError
from mlr.server.registry import Registry, ServedModel
from mlr.server.schema import EmbeddingRequest, RerankRequest, parse
from mlr.server.work import ClientGone, Work

if TYPE_CHECKING:
    from mlr.model import Model

__all__ = ["embeddings", "rerank"]


async def embeddings(request: Request) -> Response:
    """A vector for each text."""
    registry: Registry = request.app.state.registry
    wanted = parse(EmbeddingRequest, await read_object(request))
    served = registry.get(wanted.model)
    for tokens in wanted.input:
        if not isinstance(tokens, str):
            _check_tokens(tokens, served.model.info.vocabulary_size)
    return await _respond(request, served, lambda model: _embed(model, wanted))


async def rerank(request: Request) -> Response:
    """Documents by how well they answer a query."""
    registry: Registry = request.app.state.registry
    wanted = parse(RerankRequest, await read_object(request))
    served = registry.get(wanted.model)
    return await _respond(request, served, lambda model: _rank(model, wanted))


async def _respond(
    request: Request, served: ServedModel, answer: Callable[[Model], Awaitable[dict[str, Any]]]
) -> Response:
    """The answer, when the model's turn has come; nothing for a client that has left."""
    running: Work = request.app.state.work

    async def take_turn() -> dict[str, Any]:
        async with served.use() as model:
            return {"model": served.id, **await answer(model)}

    try:
        with served.turns.admit():
            return JSONResponse(await running.run(request.receive, take_turn()))
    except ClientGone:
        return Response()


async def _embed(model: Model, wanted: EmbeddingRequest) -> dict[str, Any]:
    made: Embeddings = await model.embed(
        wanted.input,
        prompt_name=wanted.prompt_name,
        truncate=wanted.truncate is not False,
    )
    width = len(made.vectors[0])
    if wanted.dimensions not in (None, width):
        raise ApiError(
            400,
            f"'dimensions': this model's embeddings have {width}",
            param="dimensions",
            code="invalid_value",
        )
    encode = _base64 if wanted.encoding_format == "base64" else list
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(made.vectors)
        ],
        "usage": {"prompt_tokens": made.tokens, "total_tokens": made.tokens},
        "truncated": list(made.truncated),  # not OpenAI's: the inputs that were cut
    }


def _base64(vector: list[float]) -> str:
    """Little-endian float32, as OpenAI's client reads it."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


async def _rank(model: Model, wanted: RerankRequest) -> dict[str, Any]:
    made: Ranking = await model.rerank(
        wanted.query, wanted.documents, truncate=wanted.truncate is not False
    )
    results: list[dict[str, Any]] = []
    for ranked in made.results[: wanted.top_n]:
        result: dict[str, Any] = {"index": ranked.index, "relevance_score": ranked.score}
        if wanted.return_documents:
            result["document"] = {"text": wanted.documents[ranked.index]}
        results.append(result)
    return {
        "results": results,
        "usage": {"prompt_tokens": made.tokens, "total_tokens": made.tokens},
        "truncated": list(made.truncated),
    }


def _check_tokens(tokens: list[int], size: int) -> None:
    for token in tokens:
        if not 0 <= token < size:
            raise ApiError(
                400,
                f"'input': {token} is not a token of this model, which has {size}",
                param="input",
                code="invalid_value",
            )
