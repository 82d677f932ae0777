"""Long lists, a page at a time; the page stays in the address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import streamlit as st

from dashboards.ui import numbers, page_state
from dashboards.ui.text import t

Item = TypeVar("Item")


def page_of(rows: Sequence[Item], size: int, name: str = "page") -> Sequence[Item]:
    """The rows of the page that the address names, below the buttons that turn pages."""
    number = turn(-(-len(rows) // size), len(rows), name)
    return rows[(number - 1) * size : number * size]


def turn(pages: int, total: int, name: str = "page") -> int:
    """Buttons for the page before and the next; returns the number of this one, from 1."""
    number = page_state.get_int(name, 1, 1, max(1, pages))
    with st.container(horizontal=True, vertical_alignment="center"):
        back = st.button("", icon=":material/chevron_left:", disabled=number <= 1, key=f"{name}-back", help=t("paging.back"))
        on = st.button("", icon=":material/chevron_right:", disabled=number >= pages, key=f"{name}-on", help=t("paging.on"))
        st.caption(t("paging.where", page=numbers.number(number), pages=numbers.number(max(1, pages)), n=numbers.number(total)))
    if back or on:
        page_state.put(**{name: number - 1 if back else number + 1})
        st.rerun()
    return number
