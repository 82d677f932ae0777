"""Where a sign-in with a provider ends: on the page that was asked for. Streamlit's own always ends on the first one.

The browser says from which page it goes to the provider (``Referer``). Its path and state are kept in a cookie until the provider
sends the reader back, and only if the path is one of this dashboard's pages: whatever the cookie says, nobody is sent elsewhere.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from dashboards.navigation import VIEWS
from dashboards.session import base, cookie_name, secure

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LASTS = 600
_LONGEST = 3000
_REDIRECTS = (302, 303, 307)


class Landing:
    """ASGI middleware around Streamlit: notes the page at ``/auth/login``, and goes there from ``/oauth2callback``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; the answers to those two get another header."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path not in (f"{base()}/auth/login", f"{base()}/oauth2callback"):
            await self._app(scope, receive, send)
            return
        from starlette.datastructures import Headers, MutableHeaders

        asked = Headers(scope=scope)
        secured = secure(scope.get("scheme", ""), asked)
        leaving = path.endswith("/auth/login")

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _REDIRECTS:
                headers = MutableHeaders(scope=message)
                if leaving:
                    headers.append("set-cookie", _cookie(page_of(asked.get("referer", "")), secured))
                elif b"state=" in scope.get("query_string", b""):  # back from signing out there is none
                    if page := page_of(_kept(asked)):
                        headers["location"] = page
                    headers.append("set-cookie", _cookie("", secured))
            await send(message)

        await self._app(scope, receive, changed)


def page_of(address: str) -> str:
    """Path and state of an address, if the path is that of a page; else nothing.

    >>> page_of("https://here.example/compare?runs=a,b#top")
    '/compare?runs=a,b'
    >>> page_of("https://here.example//evil.example/compare")
    ''
    """
    try:
        found = urlsplit(address)
    except ValueError:
        return ""
    if found.path not in (f"{base()}/", *(f"{base()}/{view.name}" for view in VIEWS)):
        return ""
    page = f"{found.path}?{found.query}" if found.query else found.path
    return page if len(page) <= _LONGEST and page.isascii() and page.isprintable() and " " not in page else found.path


def _kept(headers: Headers) -> str:
    """The cookie's value."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(cookie_name("asked"))
    except CookieError:
        return ""
    return unquote(found.value) if found is not None else ""


def _cookie(page: str, secured: bool) -> str:
    """The header that keeps a page, or forgets it where there is none."""
    lasts = _LASTS if page else 0
    where = f"Max-Age={lasts}; Path={base() or '/'}; HttpOnly; SameSite=Lax"
    return f"{cookie_name('asked')}={quote(page, safe='')}; {where}{'; Secure' if secured else ''}"
