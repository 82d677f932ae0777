"""Asks the model server to look inside a model (``POST /lapidar/inspect``), so that no page ever loads one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from components import local_services
from components.inference.client import START, ServerDown, ServerError
from components.inference.tokens import server_token
from components.inspection import Document
from components.settings import Settings

_SECONDS = 180.0
"""A model may have to be loaded first."""


def look(
    settings: Settings, model: str, view: str, options: Mapping[str, Any] | None = None, prompt: str = "", chat: bool = False
) -> Document:
    """A view of a model that the server of this home has or can load.

    Raises:
        ServerDown: if no server runs or answers.
        ServerError: if it refuses; with its own words.
    """
    address = local_services.address(settings, "models")
    if address is None:
        raise ServerDown(f"no model server runs for {settings.root}", START)
    token = server_token(settings)
    head = {"Authorization": f"Bearer {token}"} if token else {}
    body = {"model": model, "view": view, "settings": dict(options or {}), "prompt": prompt, "answer": "", "chat": chat}
    try:
        with httpx.Client(timeout=httpx.Timeout(_SECONDS, connect=3.0), trust_env=False, headers=head) as client:
            answer = client.post(f"{address.rstrip('/')}/lapidar/inspect", json=body)
    except httpx.HTTPError as error:
        raise ServerDown(f"the model server at {address} doesn't answer ({error or type(error).__name__})", START) from error
    if answer.is_error:
        raise ServerError(f"the model server refused ({_said(answer)})", "change the request, or look at its log")
    content = answer.json()
    return Document(**{**content, "notes": tuple(content.get("notes", ()))})


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])[:400]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"
