"""Whoever acts must still be who they were when the page was drawn: callbacks run before the page asks again."""

from __future__ import annotations

import streamlit as st

from dashboards import access


def check(reader: str) -> None:
    """Ends the script unless this reader is signed in and may review."""
    if access.require("reviewer").name != reader:
        st.stop()
