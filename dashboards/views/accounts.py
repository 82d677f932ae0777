"""Accounts: who may open the dashboard, and what they may do there. For admins."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from components.errors import InputError
from components.reviews import accounts
from components.reviews.accounts import Account, Role
from dashboards import access
from dashboards.ui import safe, settings, states
from dashboards.ui.text import t


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_accounts"), anchor=False)
    how = access.way()
    if how == "oidc":
        states.empty(t("accounts.provider"), t("accounts.provider_todo"), icon=":material/shield_person:")
        return
    if how == "open":
        states.empty(t("accounts.open"), t("accounts.open_todo"), icon=":material/lock_open:")
    else:
        for account in accounts.listed(settings()):
            _account(account)
    _add(first=how == "open")


def _account(account: Account) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/person: **{safe.plain(account.name)}**", width="stretch")
        st.selectbox(
            t("accounts.role"),
            accounts.ROLES,
            index=accounts.ROLES.index(account.role),
            key=f"role-{account.name}",
            format_func=lambda role: t(f"ui.role_{role}"),
            on_change=_set_role,
            args=(account.name,),
            label_visibility="collapsed",
            width=160,
        )
        with st.popover("", icon=":material/delete:", help=t("accounts.remove")):
            st.markdown(t("accounts.remove_sure", name=safe.plain(account.name)))
            st.button(t("accounts.remove"), key=f"remove-{account.name}", on_click=_remove, args=(account.name,), type="primary")


def _set_role(name: str) -> None:
    role: Role = st.session_state[f"role-{name}"]
    access.require("admin")
    _told(lambda: accounts.set_role(settings(), name, role))


def _remove(name: str) -> None:
    access.require("admin")
    _told(lambda: accounts.remove(settings(), name))


def _told(action: Callable[[], object]) -> None:
    """Does something, or says why not."""
    try:
        action()
    except InputError as error:
        st.toast(safe.plain(error), icon=":material/error:")


def _add(first: bool) -> None:
    st.subheader(t("accounts.add"), anchor=False)
    with st.form("add-account", clear_on_submit=False):
        name = st.text_input(t("ui.name"), max_chars=250, autocomplete="off")
        password = st.text_input(t("ui.password"), type="password", max_chars=accounts.LONGEST, autocomplete="new-password")
        options: tuple[Role, ...] = ("admin",) if first else accounts.ROLES
        role = st.selectbox(t("accounts.role"), options, format_func=lambda each: t(f"ui.role_{each}"))
        if st.form_submit_button(t("accounts.add"), type="primary"):
            access.require("admin")
            try:
                accounts.create(settings(), name, role or "reviewer", password)
            except InputError as error:
                st.error(safe.plain(error))
                return
            st.rerun()
