"""Reads a request's JSON body within limits of size, time and depth."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, NoReturn

from starlette.requests import Request

from mlr.server import limits
from mlr.server.errors import ApiError

__all__ = ["read_object"]


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body.

    Raises `ApiError`: 413 over the size limit (before reading when the length is declared),
    415 for another content type, 408 when it does not arrive, 400 for what is not a JSON object.
    """
    _check_content_type(request)
    try:
        async with asyncio.timeout(limits.BODY_TIMEOUT):
            data = await _read(request)
    except TimeoutError:
        raise ApiError(
            408, f"the request's body did not arrive within {limits.BODY_TIMEOUT:.0f} s"
        ) from None
    return _parse(data)


def _check_content_type(request: Request) -> None:
    """Refuse anything but JSON.

    A page of another origin can post plain text or a form here without asking; it cannot post
    JSON, so this also keeps such pages from using the models.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise ApiError(
            415,
            f"the request's Content-Type must be application/json, got {content_type!r}",
            code="unsupported_content_type",
        )


async def _read(request: Request) -> bytes:
    # The HTTP parser has checked that the header is a number of at most 20 digits.
    if int(request.headers.get("content-length", 0)) > limits.MAX_BODY:
        raise await _too_large(request)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limits.MAX_BODY:
            raise await _too_large(request)
    return bytes(data)


async def _too_large(request: Request) -> ApiError:
    """The refusal of a body, after some more of it has been let pass unread.

    A client that is cut off while it sends sees a reset connection instead of the answer.
    """
    passed = 0
    with contextlib.suppress(TimeoutError):
        while passed < limits.MAX_DISCARDED:
            async with asyncio.timeout(limits.DISCARD_TIMEOUT):
                message = await request.receive()
            passed += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
    return ApiError(
        413,
        f"the request's body is over {limits.MAX_BODY} bytes",
        code="request_too_large",
        headers={"connection": "close"},  # the rest of the body is not read
    )


def _parse(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the request's body is not UTF-8: byte {error.start}") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # malformed, NaN, or a number of thousands of digits
        raise ApiError(400, f"the request's body is not valid JSON: {error}") from None
    _check_depth(value)
    if not isinstance(value, dict):
        raise ApiError(400, f"the request's body must be a JSON object, got {_kind(value)}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(limits.MAX_JSON_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> ApiError:
    return ApiError(
        400, f"the request's body is nested more than {limits.MAX_JSON_DEPTH} levels deep"
    )


def _kind(value: object) -> str:
    return {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}.get(
        type(value), "a number"
    )
