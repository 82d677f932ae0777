"""Contamination on a page: the state of each benchmark by method, and every find with both texts side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboards.parts import paging
from dashboards.ui import numbers, safe, states
from dashboards.ui.text import t

_COLOURS = {"clean": "green", "contaminated": "red"}
_ICONS = {"clean": "check_circle", "contaminated": "warning"}


def badge(state: str) -> str:
    """A state as a Markdown badge; what wasn't checked is never green."""
    known = state if state in _COLOURS else "not_checked"
    return f":{_COLOURS.get(state, 'orange')}-badge[:material/{_ICONS.get(state, 'help')}: {t(f'contamination.at_{known}')}]"


def draw(found: Mapping[str, Any], matches: Sequence[Mapping[str, Any]] | None) -> None:
    """The whole, a table of benchmarks and methods, and the pairs."""
    if not found:
        states.empty(t("contamination.none"), t("contamination.none_todo"), "lapidar contamination data/sft.jsonl SUITE")
        return
    st.markdown(f"{badge(str(found.get('state')))} {safe.plain(found.get('reason', ''), 500)}")
    rows = [
        {
            t("contamination.benchmark"): name,
            t("contamination.method"): method,
            t("contamination.state"): t(f"contamination.at_{str(one.get('state', 'not checked')).replace(' ', '_')}"),
            t("contamination.flagged"): f"{one.get('flagged', 0)} / {each.get('items', '–')}",
            t("contamination.why"): one.get("reason", ""),
        }
        for name, each in (found.get("benchmarks") or {}).items()
        for method, one in each.get("methods", {}).items()
    ]
    if rows:
        st.dataframe(rows, hide_index=True, width="stretch")
    if searched := found.get("rows"):
        st.caption(t("contamination.searched", what=", ".join(f"{safe.plain(k)} {numbers.number(v)}" for k, v in searched.items())))
    _pairs(matches)


def _pairs(matches: Sequence[Mapping[str, Any]] | None) -> None:
    st.markdown(f"##### {t('contamination.pairs')}")
    if matches is None:
        st.caption(t("contamination.elsewhere"))
        return
    if not matches:
        st.caption(t("contamination.no_pairs"))
        return
    for match in paging.page_of(matches, 5, "pair"):
        with st.container(border=True):
            what = f"{match['benchmark']} {match['id']} · {match['method']} · {match.get('how', '')}"
            st.markdown(f"**{safe.plain(what)}**")
            left, right = st.columns(2)
            with left:
                st.caption(t("contamination.item"))
                safe.code(str(match.get("item") or t("contamination.hidden")))
            with right:
                st.caption(t("contamination.training", file=safe.plain(match.get("file", "")), row=match.get("row", "–")))
                safe.code(str(match.get("training") or t("contamination.hidden")))
