"""Who reads, and what they may do. Roles decide which pages exist; ``require`` checks again at every action.

Three ways, decided by what is set up: OpenID Connect if Streamlit's secrets have ``[auth]``, local accounts if the database has
any (``lapidar accounts add``), else nobody is asked, which is for the loopback only. With OpenID Connect everybody who may sign in
is a reviewer; secrets name the others by their e-mail address::

    [roles]
    admin = ["ana@example.org"]
    engineer = ["rui@example.org"]
"""

from __future__ import annotations

import getpass
import ipaddress
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from components.errors import LapidarError
from components.reviews import accounts
from dashboards.ui import settings
from dashboards.ui.text import t

Role = accounts.Role
How = Literal["open", "account", "oidc"]
_ROLES = accounts.ROLES
_NAME = "account"


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
        name = st.session_state.get(_NAME)
        found = accounts.get(settings(), name) if name else None
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


def sign_in() -> None:
    """The page where a reader says who they are."""
    with st.columns([1, 2, 1])[1]:
        st.title(t("ui.sign_in"), anchor=False)
        if way() == "oidc":
            st.button(t("ui.sign_in_provider"), type="primary", icon=":material/login:", on_click=st.login)
            return
        with st.form("sign-in"):
            name = st.text_input(t("ui.name"), autocomplete="username", max_chars=250)
            password = st.text_input(t("ui.password"), type="password", autocomplete="current-password", max_chars=accounts.LONGEST)
            sent = st.form_submit_button(t("ui.sign_in"), type="primary", width="stretch")
        if sent:
            found = accounts.verify(settings(), name, password)
            if found is None:
                st.error(t("ui.wrong_sign_in"), icon=":material/error:")
                return
            st.session_state[_NAME] = found.name
            st.rerun()


def sign_out() -> None:
    """Forgets who reads."""
    if way() == "oidc":
        st.logout()
    st.session_state.clear()


def _of_provider() -> Reader | None:
    user: Any = st.user
    if not user.is_logged_in:
        return None
    address = str(user.get("email") or "").casefold()
    verified = bool(address) and user.get("email_verified") is not False  # an address that nobody checked gives no rights
    named = _secrets("roles")
    roles: tuple[Role, ...] = ("admin", "engineer")
    found = [role for role in roles if verified and address in {str(each).casefold() for each in named.get(role, [])}]
    role: Role = found[0] if found else "reviewer"
    return Reader(address or str(user.get("sub", "?")), role, "oidc")


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
