"""Playground."""

from __future__ import annotations

import streamlit as st

from dashboards.ui import states
from dashboards.ui.text import t


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_playground"))
    states.empty(t("ui.nothing"), t("ui.nothing_todo"), "lapidar run quickstart")
