"""Requests for models that live behind another OpenAI-compatible endpoint: handed on as they are, streams chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from components.inference.server.catalogue import Remote
from components.inference.server.errors import ApiError

if TYPE_CHECKING:
    import httpx

_HANDED_ON = {400, 404, 408, 409, 413, 422, 429}


class PassThrough:
    """The connections to other endpoints.

    Args:
        token: gives the bearer token for one of them, if it may have one.
        timeout: seconds without a byte from one before a request counts as failed.
    """

    def __init__(self, token: Callable[[Remote], str | None], timeout: float = 120.0) -> None:
        import httpx

        self._token = token
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=50)
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(timeout, connect=10.0), limits=limits)

    async def close(self) -> None:
        """Closes them."""
        await self._client.aclose()

    async def open(self, remote: Remote, route: str, body: dict[str, Any], stack: AsyncExitStack) -> httpx.Response:
        """A response whose body wasn't read yet; it is closed with the stack.

        Raises:
            ApiError: with the endpoint's own status and words where the request is at fault, else 502 or 503.
        """
        import httpx

        content = {key: value for key, value in body.items() if key != "lapidar"} | {"model": remote.model}
        if body.get("lapidar") not in (None, {}):
            _refuse_extension(remote, body["lapidar"])
        headers = {"Authorization": f"Bearer {token}"} if (token := self._token(remote)) else {}
        asked = self._client.stream("POST", f"{remote.url}/{route}", json=content, headers=headers)
        try:
            response = await stack.enter_async_context(asked)
            if response.status_code == 200:
                return response
            said = (await response.aread())[:2000].decode("utf-8", "replace")
        except httpx.HTTPError as error:
            raise ApiError(
                503, f"{remote.name} at {remote.url} doesn't answer ({type(error).__name__})", code="endpoint"
            ) from error
        status = response.status_code if response.status_code in _HANDED_ON else 502
        pause = response.headers.get("retry-after", "")
        message = f"{remote.name} at {remote.url} answers {response.status_code}: {said}"
        if response.status_code in (401, 403) and not headers:
            message += "; no token was sent: who runs this server may allow one for that address with LAPIDAR_ENDPOINT_URL"
        raise ApiError(status, message, code="endpoint", retry_after=int(pause) if pause.isdigit() else None)

    async def whole(self, remote: Remote, route: str, body: dict[str, Any]) -> dict[str, Any]:
        """A whole answer, under the name that the model has here."""
        import httpx

        began = time.monotonic()
        async with AsyncExitStack() as stack:
            response = await self.open(remote, route, body, stack)
            try:
                await response.aread()
                found = response.json()
            except (httpx.HTTPError, ValueError) as error:
                raise ApiError(502, f"{remote.name} at {remote.url} broke off its answer", code="endpoint") from error
        if not isinstance(found, dict):
            raise ApiError(502, f"{remote.name} at {remote.url} gave no JSON object", code="endpoint")
        seconds = {"queued": None, "first_token": None, "total": round(time.monotonic() - began, 6)}
        own = {"version": remote.version, "digest": None, "context": None, "kv": None, "seconds": seconds, "reused_tokens": 0}
        return found | {"model": remote.name, "lapidar": own}


async def chunks(remote: Remote, response: httpx.Response) -> AsyncIterator[bytes]:
    """A stream's bytes as they come; a broken one ends with an error event."""
    import httpx

    from components.inference.server.replies import line

    try:
        async for chunk in response.aiter_bytes():
            yield chunk
    except httpx.HTTPError:
        yield line(ApiError(502, f"{remote.name} at {remote.url} broke off its answer", code="endpoint").body())


def _refuse_extension(remote: Remote, asked: Any) -> None:
    context = asked.get("context") or {} if isinstance(asked, dict) else {}
    default = isinstance(asked, dict) and isinstance(context, dict) and not asked.get("kv")
    if not default or context.get("policy", "error") != "error" or context.get("limit") is not None:
        message = (
            f"{remote.name} lives behind another endpoint, which knows no context policy and no KV cache method; leave them out"
        )
        raise ApiError(400, message, param="lapidar", code="not_here")
