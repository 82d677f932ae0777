"""What the dashboard runs for each reader and each of their clicks; ``app.py`` serves it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from components.errors import LapidarError
from dashboards import access, navigation
from dashboards.ui import sidebar, states
from dashboards.ui.text import t

ICON = Path(__file__).parent / "ui" / "icon.png"  # Streamlit's own icons and emojis would be fetched from another server


def main() -> None:
    """One run of the script: who reads, which pages there are for them, and the one that is asked for."""
    st.set_page_config(page_title="Lapidar", page_icon=str(ICON), layout="wide")
    st.logo(str(ICON), size="large")
    try:
        reader = access.reader()
    except LapidarError as error:  # who can't be told apart sees nothing
        st.navigation(navigation.closed(), position="hidden")
        st.title(t("ui.closed"), anchor=False)
        states.broken(t("ui.broken"), str(error), t("ui.broken_todo"))
        return
    if reader is None:
        st.navigation(navigation.closed(), position="hidden")
        access.sign_in()
        return
    chosen = st.navigation(navigation.pages(reader.role), expanded=True)
    sidebar.draw(reader)
    chosen.run()


main()
