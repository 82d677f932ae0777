"""Below the pages: who reads and how they came in, the language, and what is down."""

from __future__ import annotations

import streamlit as st

from dashboards import access
from dashboards.access import Reader
from dashboards.ui import safe
from dashboards.ui.text import LANGUAGES, language, t


def draw(reader: Reader) -> None:
    """Draws the sidebar's lower part."""
    with st.sidebar:
        _language()
        if reader.how == "open":
            st.caption(t("ui.open", name=safe.plain(reader.name)))
        else:
            st.caption(t("ui.signed_in", name=safe.plain(reader.name), role=t(f"ui.role_{reader.role}")))
            st.button(t("ui.sign_out"), on_click=access.sign_out, type="tertiary", icon=":material/logout:")


def _language() -> None:
    names = list(LANGUAGES)
    chosen = st.segmented_control(
        t("ui.language"), names, default=language(), format_func=LANGUAGES.__getitem__, label_visibility="collapsed", required=True
    )
    if chosen and chosen != language():
        st.session_state["language"] = chosen
        st.query_params["lang"] = chosen
        st.rerun()
