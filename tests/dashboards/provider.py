"""An OpenID Connect provider on the loopback: discovery, authorization code with PKCE, keys, userinfo, end of session.

Its page lists people to sign in as. A few of them make it lie, as a broken or hostile one might: ``FORGERIES``.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from typing import Any
from urllib.parse import parse_qs, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.listening import Listening

CLIENT, SECRET = "lapidar", "a secret of the client"
PEOPLE: dict[str, dict[str, Any]] = {
    "ana": {"email": "Ana@example.org", "email_verified": True},
    "rui": {"email": "rui@other.example", "email_verified": True},
    "eva": {"email": "eva@example.org", "email_verified": True},
    "kim": {},
    "stranger": {"email": "stranger@elsewhere.example", "email_verified": True},
    "lookalike": {"email": "ana@example.org.evil.example", "email_verified": True},
    "unverified": {"email": "ana@example.org", "email_verified": False},
    "unsaid": {"email": "ana@example.org"},
}
FORGERIES = ("wrong key", "wrong audience", "wrong nonce", "wrong issuer", "expired")


class Provider(Listening):
    """The provider, in a thread of this process.

    Attributes:
        ended: subjects whose session a client ended.
    """

    def __init__(self) -> None:
        self._key, self._other = (RSAKey.generate_key(2048, {"kid": "one"}) for _ in range(2))
        self._codes: dict[str, dict[str, str]] = {}
        self.ended: list[str] = []
        routes = [
            Route("/.well-known/openid-configuration", self._discovery),
            Route("/keys", self._keys),
            Route("/authorize", self._authorize),
            Route("/chosen", self._chosen),
            Route("/token", self._token, methods=["POST"]),
            Route("/end", self._end),
        ]
        super().__init__(Starlette(routes=routes))

    def _discovery(self, _: Request) -> Response:
        found = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "end_session_endpoint": f"{self.url}/end",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }
        return JSONResponse(found)

    def _keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    def _authorize(self, request: Request) -> Response:
        """The page where somebody says who they are."""
        asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        links = [
            f'<p><a href="/chosen?{urlencode({**asked, "who": who})}">{who}</a></p>'.replace("&", "&amp;")
            for who in (*PEOPLE, *FORGERIES)
        ]
        return HTMLResponse(f"<h1>Provider</h1>{''.join(links)}")

    def _chosen(self, request: Request) -> Response:
        asked, code = dict(request.query_params), secrets.token_urlsafe(16)
        self._codes[code] = asked
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}", 302)

    async def _token(self, request: Request) -> Response:
        """Changes a code into an id token, once, for the client that asked for it."""
        given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        encoded = base64.b64encode(f"{CLIENT}:{SECRET.replace(' ', '+')}".encode()).decode()
        asked = self._codes.pop(given.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(given.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if request.headers.get("authorization") not in (f"Basic {basic}", f"Basic {encoded}"):
            return JSONResponse({"error": "invalid_client"}, 401)
        if asked is None or challenge != asked["code_challenge"] or given.get("redirect_uri") != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        token = self._id_token(asked["who"], asked["nonce"])
        return JSONResponse(
            {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "expires_in": 300, "id_token": token}
        )

    def _id_token(self, who: str, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "sub": f"id-{who}", "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce}
        claims |= PEOPLE.get(who, PEOPLE["ana"])
        lies: dict[str, dict[str, Any]] = {
            "wrong audience": {"aud": "another client"},
            "wrong nonce": {"nonce": "another"},
            "wrong issuer": {"iss": "http://evil.invalid"},
            "expired": {"iat": now - 7200, "exp": now - 3600},
        }
        key = self._other if who == "wrong key" else self._key
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims | lies.get(who, {}), key)

    def _end(self, request: Request) -> Response:
        """Ends a session; the id token says whose."""
        token = jwt.decode(request.query_params["id_token_hint"], self._key)
        self.ended.append(str(token.claims["sub"]))
        return RedirectResponse(request.query_params["post_logout_redirect_uri"], 302)
