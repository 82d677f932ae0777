"""Bodies of requests, read within limits: size, depth, numbers that are ones, text that can be written."""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from typing import Any

from starlette.requests import ClientDisconnect, Request

from components.inference.server.errors import ApiError

MOST_DEPTH = 64


def authorize(request: Request, tokens: Sequence[str]) -> None:
    """Lets a request in that brings one of the tokens; all of them are compared, in constant time.

    Raises:
        ApiError: 401.
    """
    if not tokens:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    fits = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
    if scheme.lower() != "bearer" or not any(fits):
        raise ApiError(401, "this server wants a bearer token: Authorization: Bearer TOKEN", code="invalid_api_key")


async def read_json(request: Request, most_bytes: int) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        ApiError: 413 if it is too large, 415 for another type, 400 if it isn't a JSON object or too deep.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"the body has to be application/json, not {kind[:100] or 'without a type'}", code="content_type")
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > most_bytes:
                raise ApiError(413, f"the request has more than {most_bytes} bytes, this server's limit", code="too_large")
    except ClientDisconnect as error:
        raise ApiError(400, "the client left before the request was whole") from error
    try:
        body = json.loads(bytes(content), parse_constant=_refuse)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:  # also what isn't UTF-8, and numbers with thousands of digits
        raise ApiError(400, f"the body isn't JSON: {str(error)[:200]}", code="invalid_json") from error
    if not isinstance(body, dict):
        raise ApiError(400, "the body has to be a JSON object", code="invalid_json")
    _check(body)
    return body


def _check(body: Any) -> None:
    """Walks through a body level by level."""
    level = [body]
    for _ in range(MOST_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.keys()
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and not _writable(value):
                raise ApiError(400, "the body holds half of a surrogate pair, which is no text", code="invalid_json")
        if not inner:
            return
        level = inner
    raise _too_deep()


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep() -> ApiError:
    return ApiError(400, f"the body is nested deeper than {MOST_DEPTH} levels", code="too_deep")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")
