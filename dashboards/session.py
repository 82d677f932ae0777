"""The cookie of a local sign-in: set by the server, so that no script can read it.

A Streamlit script can't set a cookie; a route beside it can. The sign-in page holds a ticket (``components.reviews.sign_ins``),
its script posts it here, and the answer carries the session: ``HttpOnly``, ``SameSite=Strict``, ``Secure`` where the page came by
HTTPS. Signing out ends the session in the database, after which the cookie is worth nothing.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import streamlit as st

from components.errors import LapidarError
from components.reviews import sign_ins
from dashboards.ui import settings
from dashboards.ui.text import t

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

_LONGEST = 1000
_JS = """
let last = null;
export default function ({ data, parentElement }) {
  if (data.ticket === last) return;
  last = data.ticket;
  const failed = () => { parentElement.querySelector("p").textContent = data.failed; };
  fetch(data.address, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(data.ticket) })
    .then((answer) => (answer.ok ? location.reload() : failed()), failed);
}
"""


def token() -> str | None:
    """What the reader's browser shows as its session."""
    return st.context.cookies.get(cookie_name("session"))


def begin(ticket: str) -> None:
    """Draws what changes a ticket into a session and loads the page again."""
    address = f"{base()}/sign-in"
    _component()(data={"ticket": ticket, "address": address, "failed": t("ui.sign_in_failed")}, key="sign-in.ticket")


def route() -> Route:
    """The route that takes a ticket and sets the cookie."""
    from starlette.routing import Route

    return Route(f"{base()}/sign-in", _take, methods=["POST"])


async def _take(request: Request) -> Response:
    """Sets the cookie, if the ticket is good.

    Only JSON is taken: a form of another site can't send that, and a script of another site would have to ask first, which nobody
    answers. So nobody is signed in as somebody else by a page that they visit.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse

    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        return JSONResponse({"error": "expected a ticket as JSON"}, 415)
    try:
        found = await _ticket(request)
        session = await run_in_threadpool(sign_ins.redeem, settings(), found) if found else None
    except LapidarError as error:
        return JSONResponse({"error": str(error)}, 503)
    if session is None:
        return JSONResponse({"error": "the ticket is used or too old; sign in again"}, 401)
    answer = JSONResponse({"ok": True}, headers={"Cache-Control": "no-store"})
    only_https = secure(request.url.scheme, request.headers)
    answer.set_cookie(
        cookie_name("session"),
        session,
        max_age=int(sign_ins.LASTS),
        path=base() or "/",
        secure=only_https,
        httponly=True,
        samesite="strict",
    )
    return answer


async def _ticket(request: Request) -> str | None:
    """The ticket in a request's body; None for anything else."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST:
            return None
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, str) else None


def cookie_name(what: str) -> str:
    """A cookie's name. Ports of one machine share cookies, and two dashboards mustn't sign each other's readers out."""
    return f"lapidar_{what}_{st.get_option('server.port')}"


def base() -> str:
    """The path below which the dashboard is served, without a slash at its end."""
    path = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{path}" if path else ""


def secure(scheme: str, headers: Headers) -> bool:
    """Whether a request came by HTTPS, if not to us then to what stands before us."""
    return "https" in (scheme, headers.get("x-forwarded-proto"))


@cache
def _component() -> Any:
    return st.components.v2.component(
        "lapidar.sign_in", html="<p role='alert'></p>", css="p { margin: 0; font-family: var(--st-font); }", js=_JS
    )
