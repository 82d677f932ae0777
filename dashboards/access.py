"""Who reads, and what they may do. Roles decide which pages exist; ``require`` checks again at every action.

Three ways, decided by what is set up: OpenID Connect if Streamlit's secrets have ``[auth]``, local accounts if the database has
any (``lapidar accounts add``), else nobody is asked, which is for the loopback only. With OpenID Connect secrets say who has which
role; who has none is told so and sees nothing. A name is an e-mail address that the provider says it has verified, all verified
addresses of a domain, the provider's own id of somebody (its claim ``sub``), or ``*`` for everybody who may sign in there::

    [roles]
    admin = ["ana@example.org"]
    engineer = ["rui@example.org", "sub:8f4c2b"]
    reviewer = ["*@example.org"]
"""

from __future__ import annotations

import getpass
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec

import streamlit as st

from components.errors import LapidarError
from components.reviews import accounts, sign_ins
from dashboards import session
from dashboards.ui import safe, settings
from dashboards.ui.text import t

Role = accounts.Role
How = Literal["open", "account", "oidc"]
P = ParamSpec("P")
_ROLES = accounts.ROLES


@dataclass(frozen=True)
class Reader:
    """Who looks at the dashboard.

    Attributes:
        how: how they showed who they are; ``open`` if nobody asked.
    """

    name: str
    role: Role
    how: How


def allows(role: Role, least: Role) -> bool:
    """Whether a role may do what ``least`` may."""
    return _ROLES.index(role) >= _ROLES.index(least)


def way() -> How:
    """How readers show who they are."""
    if _secrets("auth"):
        return "oidc"
    return "account" if _has_accounts() else "open"


def reader() -> Reader | None:
    """Who reads; None if they have to sign in first. Asked anew each time: a role that was taken away is gone at once.

    Raises:
        LapidarError: if nobody is asked and the page is served to other machines, or the database doesn't answer.
    """
    how = way()
    if how == "oidc":
        return _of_provider()
    if how == "account":
        token = session.token()
        found = sign_ins.whose(settings(), token) if token else None
        return Reader(found.name, found.role, "account") if found else None
    if not _loopback(st.get_option("server.address")):
        raise LapidarError(
            f"the dashboard is served at {st.get_option('server.address') or 'all addresses'} and nobody has to sign in; "
            "make an account with `lapidar accounts add NAME admin`, or serve it at 127.0.0.1"
        )
    return Reader(_user(), "admin", "open")


def require(least: Role) -> Reader:
    """The reader, if they may do this; else a page that says so and stops. Call again at every action."""
    found = reader()
    if found is None or not allows(found.role, least):
        st.warning(t("ui.not_allowed", role=t(f"ui.role_{least}")))
        st.stop()
    return found


def live(seconds: float, least: Role = "reviewer") -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Makes a part of a page draw itself anew; each time it is asked who reads, as the page around it isn't."""

    def wrap(part: Callable[P, None]) -> Callable[P, None]:
        @wraps(part)
        def draw(*arguments: P.args, **named: P.kwargs) -> None:
            require(least)
            part(*arguments, **named)

        drawn: Callable[P, None] = st.fragment(draw, run_every=seconds)
        return drawn

    return wrap


def sign_in() -> None:
    """The page where a reader says who they are."""
    with st.columns([1, 2, 1])[1]:
        st.title(t("ui.sign_in"), anchor=False)
        if way() == "oidc":
            if (user := _signed_in()) is not None:
                st.warning(t("ui.no_role", name=safe.plain(user.get("email") or user.get("sub"))), icon=":material/block:")
                st.button(t("ui.sign_out"), icon=":material/logout:", on_click=sign_out)
                return
            st.button(t("ui.sign_in_provider"), type="primary", icon=":material/login:", on_click=st.login)
            return
        with st.form("sign-in"):
            name = st.text_input(t("ui.name"), autocomplete="username", max_chars=250)
            password = st.text_input(t("ui.password"), type="password", autocomplete="current-password", max_chars=accounts.LONGEST)
            sent = st.form_submit_button(t("ui.sign_in"), type="primary", width="stretch")
        if sent:
            ticket = sign_ins.ticket(settings(), name, password)
            if ticket is None:
                st.error(t("ui.wrong_sign_in"), icon=":material/error:")
                return
            session.begin(ticket)


def sign_out() -> None:
    """Ends the reader's session, in all its tabs, and forgets what this one knew."""
    if way() == "oidc":
        st.logout()
    elif token := session.token():
        sign_ins.end(settings(), token)
    st.session_state.clear()


def _signed_in() -> Any | None:
    """What the provider says of who signed in there; None if nobody did, or too long ago."""
    user: Any = st.user
    return user if user.is_logged_in and float(user.get("iat") or 0) + sign_ins.LASTS > time.time() else None


def _of_provider() -> Reader | None:
    user = _signed_in()
    if user is None:
        return None
    address = str(user.get("email") or "").casefold() if user.get("email_verified") in (True, "true") else ""
    subject, named = str(user.get("sub") or ""), _secrets("roles")
    for role in reversed(_ROLES):
        if any(_names(str(entry), address, subject) for entry in named.get(role, [])):
            return Reader(address or subject, role, "oidc")
    return None


def _names(entry: str, address: str, subject: str) -> bool:
    """Whether an entry of ``[roles]`` means somebody. An address that nobody checked (empty here) means nobody."""
    if entry == "*" or (subject and entry == f"sub:{subject}"):
        return True
    entry = entry.casefold()
    return bool(address) and (address.rpartition("@")[2] == entry[2:] if entry.startswith("*@") else address == entry)


def _secrets(section: str) -> dict[str, Any]:
    """A section of Streamlit's secrets; empty where there are none."""
    if not st.secrets.load_if_toml_exists():
        return {}
    return dict(st.secrets.get(section, {}))


def _has_accounts() -> bool:
    found = settings()
    if found.database_url is None and not (found.root / "lapidar.db").exists():
        return False  # looking would make the database
    return bool(accounts.listed(found))


def _loopback(address: str | None) -> bool:
    try:
        return address is not None and (address == "localhost" or ipaddress.ip_address(address).is_loopback)
    except ValueError:
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "local"
