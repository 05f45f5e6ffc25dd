"""`GET /v1/models`, `GET /v1/models/{id}` and `GET /health`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mlr import __version__
from mlr.server.registry import Registry, ServedModel

__all__ = ["health", "list_models", "retrieve_model"]


async def list_models(request: Request) -> Response:
    """Every served model."""
    registry: Registry = request.app.state.registry
    started: int = request.app.state.started
    return JSONResponse(
        {"object": "list", "data": [_model(served, started) for served in registry]}
    )


async def retrieve_model(request: Request) -> Response:
    """One served model; raises `ApiError` 404."""
    registry: Registry = request.app.state.registry
    served = registry.get(request.path_params["model"])
    return JSONResponse(_model(served, request.app.state.started))


async def health(request: Request) -> Response:
    """Says that the server is up: it listens only once its models are loaded.

    Answers 503 from when an engine fails until a request has had its model loaded again.
    """
    registry: Registry = request.app.state.registry
    models = [
        {
            "id": served.id,
            "engine": served.model.info.engine,
            "context_length": served.model.info.context_length,
            "requests": served.turns.admitted,
            "error": served.engine_error,
        }
        for served in registry
    ]
    healthy = all(served.engine_error is None for served in registry)
    return JSONResponse(
        {"status": "ok" if healthy else "failing", "version": __version__, "models": models},
        200 if healthy else 503,
    )


def _model(served: ServedModel, created: int) -> dict[str, Any]:
    return {"id": served.id, "object": "model", "created": created, "owned_by": "mlr"}
