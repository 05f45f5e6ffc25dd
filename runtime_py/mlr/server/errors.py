"""Errors in OpenAI's shape, and which HTTP status each error of mlr has."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mlr.errors import ContextLengthError, MlrError, RequestError, TemplateError

__all__ = ["ApiError", "api_error", "exception_handlers"]

log = logging.getLogger("mlr.server")


class ApiError(Exception):
    """An answer that is an error: status, and what OpenAI's error object holds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = _sendable(message)
        self.param = None if param is None else _sendable(param)
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> Response:
        """The whole HTTP response."""
        return JSONResponse(self.body(), self.status, headers=self.headers)


def _sendable(text: str) -> str:
    """A text that may quote half of a surrogate pair from a request, as UTF-8 can have it."""
    return text.encode(errors="backslashreplace").decode()


def api_error(error: MlrError) -> ApiError:
    """What an error of mlr is over HTTP."""
    if isinstance(error, ContextLengthError):
        return ApiError(400, str(error), code="context_length_exceeded")
    if isinstance(error, RequestError):
        return ApiError(400, str(error))
    if isinstance(error, TemplateError):
        return ApiError(400, str(error), param="messages", code="chat_template_error")
    log.error("%s: %s", type(error).__name__, error)
    return ApiError(500, str(error), code="engine_error")


async def _answer_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _answer_mlr_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, MlrError)
    return api_error(error).response()


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Errors of routing: nothing there, or not with this method."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return ApiError(error.status_code, message, headers=error.headers).response()


async def _answer_bug(_: Request, error: Exception) -> Response:
    """Anything else is a bug: logged in full (by the server), described to nobody.

    uvicorn closes the connection after it, so the client is told not to use it again.
    """
    message = "internal error; the server's log has the details"
    return ApiError(500, message, headers={"Connection": "close"}).response()


exception_handlers = {
    ApiError: _answer_api_error,
    MlrError: _answer_mlr_error,
    HTTPException: _answer_http_error,
    Exception: _answer_bug,
}
