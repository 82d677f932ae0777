"""The HTTP side: routes, their limits and errors. Nothing here computes; models live in processes of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import cache
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from components.inference.server.answering import Answering, look, new_ids
from components.inference.server.catalogue import Catalogue, Remote, Target
from components.inference.server.config import ServerConfig, is_loopback
from components.inference.server.errors import ApiError
from components.inference.server.messages import Look
from components.inference.server.metrics import Metrics
from components.inference.server.passthrough import PassThrough, chunks
from components.inference.server.pool import Pool
from components.inference.server.protocol import ChatRequest, CompletionRequest, InspectRequest, validated
from components.inference.server.replies import Reply
from components.inference.server.requests import authorize, read_json
from components.inference.tokens import token_for

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
_CHAT, _PLAIN, _INSPECT = "chat/completions", "completions", "inspect"


class Left(Exception):
    """The client has gone; nobody reads the answer."""


class Stream(StreamingResponse):
    """A streamed body whose source is closed however it ends, also while a chunk is being sent."""

    def __init__(self, content: AsyncIterator[bytes], close: Callable[[], Awaitable[Any]]) -> None:
        super().__init__(content, media_type="text/event-stream", headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the body."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._close()


class Service:
    """All that requests share."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.catalogue = Catalogue(config.settings, list(config.models), list(config.adapters))
        self.pool = Pool(config.memory, config.queue)
        self.metrics = Metrics(self.pool)
        self.passthrough = PassThrough(cache(lambda remote: token_for(config.settings, remote.url, named=remote.version is None)))
        self.loading = list(self.catalogue.started_with)

    async def preload(self) -> None:
        """Loads what the server was started with, in order.

        Raises:
            ApiError: if one of them can't be loaded; says which, and why.
        """
        for name in list(self.loading):
            target = await self.catalogue.find(name)
            if isinstance(target, Target):
                async with self.pool.use(target.key, target.name, target.setup):
                    pass
            self.loading.remove(name)

    async def close(self) -> None:
        """Ends the models' processes."""
        await self.pool.close()
        await self.passthrough.close()

    def check(self, request: Request) -> None:
        """Whether a request may come in at all.

        Raises:
            ApiError: 401 without a token that fits; 403 for a foreign name of a server without tokens, by which a web page
                would reach it.
        """
        authorize(request, self.config.tokens)
        host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
        if not self.config.tokens and not is_loopback(host.strip("[]")):
            raise ApiError(403, f"this server is asked as 127.0.0.1 or localhost, not as {host[:100]!r}", code="host")

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``."""
        self.check(request)
        loaded = {key for key, entry in self.pool.entries.items() if entry.loaded}
        found = await self.catalogue.listed()
        for each in found:
            target = self.catalogue.fixed.get(each["id"])
            each["lapidar"]["loaded"] = (target.key if isinstance(target, Target) else each["lapidar"]["digest"]) in loaded
        name = request.path_params.get("name")
        if name is None:
            return JSONResponse({"object": "list", "data": found})
        one = next((each for each in found if each["id"] == name.removeprefix("models:/")), None)
        if one is None:
            raise ApiError(404, f"there is no model {name[:200]!r}; GET /v1/models lists them", code="model_not_found")
        return JSONResponse(one)

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        return await self._answer(request, _CHAT, ChatRequest)

    async def completions(self, request: Request) -> Response:
        """``POST /v1/completions``."""
        return await self._answer(request, _PLAIN, CompletionRequest)

    async def inspect(self, request: Request) -> Response:
        """``POST /lapidar/inspect``."""
        self.check(request)
        asked = validated(InspectRequest, await read_json(request, self.config.most_bytes))
        target = await self.catalogue.find(asked.model)
        if isinstance(target, Remote):
            raise ApiError(400, f"{asked.model} lives behind another endpoint, which shows no views", param="model")
        apart = target.version if asked.view == "adapter" and target.adapter is None else None
        wanted = Look(new_ids(), asked.view, asked.settings, asked.prompt, asked.answer, asked.chat, target.adapter, apart)
        return JSONResponse(await _connected(request, look(self.pool, target, wanted)))

    async def health(self, request: Request) -> Response:
        """``GET /health``: 200 once what the server was started with is loaded."""
        models = {entry.name: "loaded" if entry.loaded else "unloaded" for entry in self.pool.entries.values()}
        body = {"status": "loading" if self.loading else "ready", "models": models | dict.fromkeys(self.loading, "loading")}
        return JSONResponse(body, 503 if self.loading else 200)

    async def prometheus(self, request: Request) -> Response:
        """``GET /metrics``."""
        self.check(request)
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _answer(self, request: Request, route: str, kind: type[ChatRequest] | type[CompletionRequest]) -> Response:
        self.check(request)
        body = await read_json(request, self.config.most_bytes)
        name = body.get("model")
        if not isinstance(name, str) or not name:
            raise ApiError(400, "model: name the model; GET /v1/models lists them", param="model", code="invalid_request")
        target = await self.catalogue.find(name)
        request.state.label = (route, target.name)
        if isinstance(target, Remote):
            return await self._hand_on(request, target, route, body)
        asked = validated(kind, body)
        answering = Answering(self.pool, self.metrics, target, asked.jobs(new_ids()))
        reply = Reply(asked, answering)
        try:
            await _connected(request, answering.begin())
            if asked.stream:
                return Stream(reply.stream(), answering.close)
            content = await _connected(request, reply.whole())
        except BaseException:
            await answering.close()
            raise
        await answering.close()
        return Response(content, media_type="application/json")

    async def _hand_on(self, request: Request, remote: Remote, route: str, body: dict[str, Any]) -> Response:
        if body.get("stream") is not True:
            return JSONResponse(await _connected(request, self.passthrough.whole(remote, route, body)))
        stack = AsyncExitStack()
        try:
            response = await _connected(request, self.passthrough.open(remote, route, body, stack))
        except BaseException:
            await stack.aclose()
            raise
        return Stream(chunks(remote, response), stack.aclose)


def create_app(config: ServerConfig, failed: Callable[[ApiError], None]) -> FastAPI:
    """The server as an ASGI application.

    Args:
        failed: called if a model that it was started with can't be loaded: there is no server without it.

    Raises:
        InputError: if a model it should serve isn't there.
    """
    service = Service(config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async def load() -> None:
            try:
                await service.preload()
            except ApiError as error:
                failed(error)

        loading = asyncio.ensure_future(load())
        try:
            yield
        finally:
            loading.cancel()
            await service.close()

    app = FastAPI(title="Lapidar", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    routes: list[tuple[str, str, Callable[[Request], Coroutine[Any, Any, Response]]]] = [
        ("GET", "/v1/models", service.models),
        ("GET", "/v1/models/{name:path}", service.models),
        ("POST", f"/v1/{_CHAT}", service.chat),
        ("POST", f"/v1/{_PLAIN}", service.completions),
        ("POST", "/lapidar/inspect", service.inspect),
        ("GET", "/health", service.health),
        ("GET", "/metrics", service.prometheus),
    ]
    for method, path, endpoint in routes:
        app.add_route(path, _guarded(service, endpoint), methods=[method])
    app.add_exception_handler(HTTPException, _no_route)
    app.state.service = service
    return app


def _guarded(
    service: Service, endpoint: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """An endpoint whose every failure is an error object, and which is counted."""

    async def guarded(request: Request) -> Response:
        try:
            response = await endpoint(request)
        except ApiError as error:
            response = JSONResponse(error.body(), error.status, error.headers)
        except Left:
            service.metrics.abandoned.inc()
            response = Response(status_code=499)
        except Exception:
            logger.exception("a request failed")
            failure = ApiError(500, "the server failed at this request; its log says why", code="internal")
            response = JSONResponse(failure.body(), 500)
        route, model = getattr(
            request.state, "label", (request.scope["path"].lstrip("/")[:40] if response.status_code < 400 else "", "")
        )
        service.metrics.requests.labels(route, model, response.status_code).inc()
        return response

    return guarded


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    found = ApiError(error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}", code="no_route")
    return JSONResponse(found.body(), error.status_code, dict(error.headers or {}))


async def _connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of some work, which ends when the client leaves.

    Raises:
        Left: if it did.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Left
    finally:
        for each in (task, gone):
            each.cancel()
        with suppress(BaseException):
            await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
