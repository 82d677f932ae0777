"""Approve, override, roll back, decide again: who does it is the account that is signed in, and the reason is logged for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from components.errors import LapidarError
from dashboards import access, ui
from dashboards.parts import versions
from dashboards.ui import safe
from dashboards.ui.text import t

if TYPE_CHECKING:
    from components.registry import Registry
    from components.versions import Version

_SAID = "registry.said"


def draw(shown: Mapping[str, Any], champion: Version | None) -> None:
    """The panel of a version: what may be done with it now."""
    reader = access.reader()
    _say()
    if reader is None or not access.allows(reader.role, "engineer"):
        st.caption(t("decisions.readers"))
        return
    st.caption(t("decisions.you", name=safe.plain(reader.name)))
    if "champion" in shown["aliases"]:
        st.markdown(f":material/workspace_premium: {t('decisions.is_champion')}")
    else:
        _promote(shown)
    if champion is not None:
        _rollback(champion)
    if st.button(t("decisions.again"), icon=":material/refresh:", help=t("decisions.again_help"), key="decide-again"):
        _do(lambda registry, who: _decide_again(registry, shown["uri"], who))


def waiting(shown: Mapping[str, Any]) -> tuple[list[str], int]:
    """(who agreed so far, how many the policy asks for)."""
    policy = shown["evidence"]["recipe"].get("register") or {}
    return [each["who"] for each in shown["pending"]], int(policy.get("approvals", 1))


def _promote(shown: Mapping[str, Any]) -> None:
    """One form: approve where the gate passed, else override with a warning."""
    agreed, needed = waiting(shown)
    passed = shown["gate"]["verdict"] == "pass"
    if needed > 1:
        st.markdown(t("decisions.needed", n=needed))
        st.progress(min(1.0, len(agreed) / needed), t("decisions.agreed", n=len(agreed), needed=needed, names=_names(agreed)))
    if not passed:
        st.warning(t("decisions.not_passed", verdict=t(f"ui.verdict_{shown['gate']['verdict']}")), icon=":material/gpp_maybe:")
    with st.form("promote", border=False):
        reason = st.text_area(
            t("decisions.reason"), key="promote-reason", placeholder=t("decisions.reason_hint"), max_chars=1000, height=90
        )
        label = t("decisions.approve") if passed else t("decisions.override")
        sent = st.form_submit_button(
            label, type="primary", width="stretch", icon=":material/verified:" if passed else ":material/gavel:"
        )
    if sent and _given(reason):
        _do(lambda registry, who: _agree(registry, shown, who, reason.strip(), not passed))


def _rollback(champion: Version) -> None:
    with (
        st.expander(t("decisions.rollback", version=champion.version), icon=":material/undo:"),
        st.form("rollback", border=False),
    ):
        st.caption(t("decisions.rollback_help"))
        reason = st.text_area(t("decisions.reason"), key="rollback-reason", max_chars=1000, height=90)
        sent = st.form_submit_button(t("decisions.rollback_do"), width="stretch")
    if sent and _given(reason):
        _do(lambda registry, who: _back(registry, champion.name, who, reason.strip()))


def _agree(registry: Registry, shown: Mapping[str, Any], who: str, reason: str, override: bool) -> str:
    from components.gate import Gate
    from components.registry import ApprovalNeeded, Override

    gate = Gate.from_dict(shown["gate"])
    try:
        version = registry.promote(shown["name"], shown["version"], gate, Override(who, reason) if override else None, who, reason)
    except ApprovalNeeded:
        agreed, needed = waiting(registry.show(shown["uri"]))
        return t("decisions.kept", n=len(agreed), needed=needed)
    return t("decisions.promoted", version=safe.plain(version.uri))


def _back(registry: Registry, name: str, who: str, reason: str) -> str:
    return t("decisions.rolled_back", version=safe.plain(registry.rollback(name, who, reason).uri))


def _decide_again(registry: Registry, uri: str, who: str) -> str:
    return t("decisions.decided", verdict=t(f"ui.verdict_{registry.supplement(uri, {}, who=who)['gate']['verdict']}"))


def _given(reason: str) -> bool:
    if reason.strip():
        return True
    st.error(t("decisions.no_reason"))
    return False


def _do(action: Callable[[Registry, str], str]) -> None:
    """Does it if the reader may, then draws the page anew with what came of it."""
    reader = access.require("engineer")
    registry = versions.registry(ui.settings())
    if registry is None:
        return
    try:
        st.session_state[_SAID] = action(registry, reader.name)
    except LapidarError as error:
        st.error(safe.plain(error, 900))
        return
    finally:
        versions.forget()
    st.rerun()


def _say() -> None:
    with st.container():  # there also when empty: else what follows moves up, and an opened form closes under its reader
        if said := st.session_state.pop(_SAID, None):
            st.success(said, icon=":material/check:")


def _names(agreed: list[str]) -> str:
    return ", ".join(safe.plain(name) for name in agreed) or "–"
