"""Which bearer token goes where: each only to the address that it is meant for."""

from __future__ import annotations

from urllib.parse import urlsplit

from components import local_services
from components.settings import Settings

_PORTS = {"http": 80, "https": 443}


def token_for(settings: Settings, url: str, *, named: bool = True) -> str | None:
    """The token to send to an address, or None.

    This home's own model server gets ``LAPIDAR_SERVER_TOKEN``. ``LAPIDAR_ENDPOINT_TOKEN`` goes to the addresses of
    ``LAPIDAR_ENDPOINT_URL`` and nowhere else; without them, to what the user names.

    Args:
        named: whether the user gave the address (on the command line, in a recipe), as opposed to a registered version's tag,
            which anybody who may write to the registry can set.
    """
    own = local_services.address(settings, "models")
    if own is not None and origin(own) == origin(url):
        return server_token(settings)
    token = settings.endpoint_token
    if token is None:
        return None
    meant = [origin(each.strip()) for each in (settings.endpoint_url or "").split(",") if each.strip()]
    return token.get_secret_value() if (origin(url) in meant if meant else named) else None


def server_token(settings: Settings) -> str | None:
    """The token that our own server asks for, if any."""
    return settings.server_token.get_secret_value() if settings.server_token is not None else None


def origin(url: str) -> tuple[str, str, int | None]:
    """(scheme, host, port) of a URL.

    >>> origin("https://Example.org/v1") == origin("https://example.org:443/other")
    True
    """
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
