"""The ASGI application: routes, errors and what surrounds them."""

from __future__ import annotations

import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp

from mlr.server import page
from mlr.server.bundles import bundle_routes
from mlr.server.chat import chat_completions
from mlr.server.completions import completions
from mlr.server.embeddings import embeddings, rerank
from mlr.server.errors import exception_handlers
from mlr.server.models import health, list_models, retrieve_model
from mlr.server.registry import Registry
from mlr.server.security import HostCheck, SecurityHeaders, is_loopback
from mlr.server.work import Work

__all__ = ["create_app"]


def create_app(
    registry: Registry, work: Work, *, host: str = "127.0.0.1", page_folder: Path = page.FOLDER
) -> ASGIApp:
    """The application that serves `registry`; `host` is the address it will listen on."""
    api = [
        Route("/models", list_models),
        Route("/models/{model:path}", retrieve_model),
        Route("/completions", completions, methods=["POST"]),
        Route("/embeddings", embeddings, methods=["POST"]),
        Route("/rerank", rerank, methods=["POST"]),
        Route("/chat/completions", chat_completions, methods=["POST"]),
    ]
    app = Starlette(
        routes=[
            Route("/health", health),
            # Mounted, so that what is not in it is not looked for among the page's files.
            Mount("/v1", app=Router(api, redirect_slashes=False)),
            *bundle_routes(registry),
            *page.page_routes(page_folder),
        ],
        exception_handlers=exception_handlers,
    )
    app.router.redirect_slashes = False  # a path with a slash too many is another path
    app.state.registry = registry
    app.state.work = work
    app.state.started = int(time.time())
    checked: ASGIApp = HostCheck(app, host) if is_loopback(host) else app
    return SecurityHeaders(checked)
