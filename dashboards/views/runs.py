"""Runs: filter, keep filters, choose up to six, compare."""

from __future__ import annotations

from typing import Any

import streamlit as st

from components.errors import InputError
from components.mlflow_reader import Order
from components.reviews import filters
from components.run_comparison import MOST_RUNS
from components.run_records import Page, RunRow, to_plain
from dashboards.access import require
from dashboards.ui import export, numbers, page_state, reading, safe, settings, states
from dashboards.ui.text import t

_ORDERS: tuple[Order, ...] = ("newest", "oldest", "name")
_SCORES = 3
_PICKED = "runs.picked"
_COMPARE = "runs-compare"


def page() -> None:
    """Draws the page."""
    if st.session_state.get(_COMPARE):  # the button below was clicked: its page needn't wait for this one
        page_state.go("compare", runs=_chosen())
    st.title(t("ui.page_runs"))
    query, order = _filter()
    try:
        found = reading.runs(query, page_state.get_int("page", 1, low=1), order)
    except InputError as error:
        states.broken(t("runs.unreadable"), str(error), t("runs.unreadable_todo"))
        return
    if found.note and not found.rows:
        states.broken(t("runs.down"), found.note, t("runs.down_todo"), "lapidar up")
        return
    if found.note:
        st.warning(t("runs.at_home", why=safe.plain(found.note)), icon=":material/cloud_off:")
    if not found.rows:
        _nothing(query)
        return
    chosen = _table(found, query, order)
    _below(found, chosen)


def _filter() -> tuple[str, Order]:
    """What is asked for; both stand in the address."""
    query = st.text_input(
        t("runs.filter"),
        key="q",
        placeholder=t("runs.filter_hint"),
        bind="query-params",
        on_change=_from_start,
        icon=":material/filter_list:",
        label_visibility="collapsed",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        order = page_state.choose(t("runs.order"), _ORDERS, "order", "newest", lambda name: t(f"runs.order_{name}"), hidden=True)
        with st.popover(t("runs.saved"), icon=":material/bookmark:"), states.guarded():
            _saved(query or "", order)
        with st.popover(t("runs.help"), icon=":material/help:"):
            st.markdown(t("runs.help_text"))
    return query or "", order


def _from_start() -> None:
    page_state.put(page=None)


def _saved(query: str, order: str) -> None:
    """Filters that this reader keeps: take one, keep the present one, take one away."""
    who = require("engineer").name
    kept = filters.listed(settings(), who, "runs")
    if not kept:
        st.caption(t("runs.none_saved"))
    for name, content in kept.items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                safe.plain(name),
                key=f"take-{name}",
                on_click=_take,
                args=(content,),
                width="stretch",
                help=safe.plain(content.get("q", "")),
            )
            st.button(
                "", key=f"drop-{name}", on_click=_drop, args=(name,), icon=":material/delete:", type="tertiary", help=t("runs.drop")
            )
    with st.form("save-filter", border=False, clear_on_submit=True):
        name = st.text_input(t("runs.filter_name"), max_chars=80)
        if st.form_submit_button(t("runs.save"), icon=":material/bookmark_add:", disabled=not query) and name.strip():
            filters.save(settings(), require("engineer").name, "runs", name, {"q": query, "order": order})
            st.rerun()


def _take(content: dict[str, Any]) -> None:
    order = content.get("order")
    st.session_state["q"], st.session_state["choose-order"] = content.get("q", ""), order if order in _ORDERS else "newest"
    _from_start()


def _drop(name: str) -> None:
    filters.remove(settings(), require("engineer").name, "runs", name)


def _nothing(query: str) -> None:
    if query:
        states.empty(t("runs.no_match"), t("runs.no_match_todo"), icon=":material/search_off:")
    else:
        states.empty(t("runs.none"), t("runs.none_todo"), "lapidar run quickstart")


def _table(found: Page[RunRow], query: str, order: str) -> list[str]:
    """The table; returns the chosen runs, those of other pages included."""
    picked: dict[str, list[str]] = st.session_state.setdefault(_PICKED, {"round": ["0"]})
    here = f"{picked['round'][0]}/{query}/{order}/{found.number}"
    names = _score_names(found.rows)
    state = st.dataframe(
        [_cells(row, names) for row in found.rows],
        key=f"runs-{here}",
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config=_columns(names),
        height=min(38 + 35 * len(found.rows), 640),
        alt=t("runs.alt"),
    )
    rows = state.selection.rows if hasattr(state, "selection") else []
    picked[here] = [found.rows[number].id for number in rows if number < len(found.rows)]
    if 0 < len(picked[here]) <= MOST_RUNS:
        reading.ahead([found.rows[number] for number in rows if number < len(found.rows)])
    return _chosen()


def _chosen() -> list[str]:
    """The runs that were chosen on all pages of the table."""
    picked: dict[str, list[str]] = st.session_state.get(_PICKED, {})
    return list(dict.fromkeys(run for key, runs in picked.items() if key != "round" for run in runs))


def _score_names(rows: Any) -> list[str]:
    """The scores that most rows have: whole benchmarks, a few at most, shares of unusable answers left out."""
    counted: dict[str, int] = {}
    for row in rows:
        for name in row.scores:
            if not name.rpartition(".")[2].startswith(("truncated", "unparsed")):
                counted[name] = counted.get(name, 0) + 1
    return sorted(counted, key=lambda name: (-counted[name], len(name)))[:_SCORES]


def _cells(row: RunRow, names: list[str]) -> dict[str, Any]:
    return {
        t("runs.run"): page_state.url("run", id=row.id),
        t("runs.status"): _marked(row.status),
        t("runs.began"): row.began,
        t("runs.took"): numbers.duration(row.seconds),
        **{name: numbers.interval(row.scores.get(name)) for name in names},
        t("runs.gate"): _gate(row.gate),
        t("runs.version"): safe.visible(row.version.removeprefix("models:/")) if row.version else "–",
    }


def _columns(scores: list[str]) -> dict[str, Any]:
    """Widths with which seven columns fit beside the navigation at 1280 pixels."""
    link = st.column_config.LinkColumn(t("runs.run"), display_text=r"[?&]id=([^&]+)", width="medium", pinned=True)
    began = st.column_config.DatetimeColumn(t("runs.began"), format="MMM D, HH:mm", width=105)
    narrow = {t(f"runs.{name}"): st.column_config.TextColumn(width=88) for name in ("status", "took", "gate")}
    estimates = {name: st.column_config.TextColumn(width=150) for name in scores}
    return {t("runs.run"): link, t("runs.began"): began, **narrow, **estimates}


def _marked(status: str) -> str:
    signs = {"finished": "✓", "failed": "✕", "killed": "✕", "running": "▸"}
    return f"{signs.get(status, '·')} {t(f'ui.status_{status}')}"


def _gate(verdict: str | None) -> str:
    signs = {"pass": "✓", "fail": "✕", "unknown": "?"}
    return "–" if verdict not in signs else f"{signs[verdict]} {t(f'ui.verdict_{verdict}')}"


def _below(found: Page[RunRow], chosen: list[str]) -> None:
    """What to do with the chosen runs, and the way to the next page."""
    with st.container(horizontal=True, vertical_alignment="center"):
        too_many = len(chosen) > MOST_RUNS
        st.button(
            t("runs.compare", n=len(chosen)),
            key=_COMPARE,
            type="primary",
            icon=":material/stacked_line_chart:",
            disabled=len(chosen) < 2 or too_many,
            help=t("runs.compare_help", most=MOST_RUNS),
        )
        if st.button(t("runs.open"), icon=":material/route:", disabled=len(chosen) != 1):
            page_state.go("run", id=chosen[0])
        if chosen and st.button(t("runs.clear"), type="tertiary"):
            st.session_state[_PICKED] = {"round": [str(int(st.session_state[_PICKED]["round"][0]) + 1)]}
            st.rerun()
        _pager(found)
    if too_many:
        st.warning(t("runs.too_many", most=MOST_RUNS, n=len(chosen)))
    export.download([to_plain(row) for row in found.rows], "runs")


def _pager(found: Page[RunRow]) -> None:
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", wrap=False):
        if st.button("", icon=":material/chevron_left:", disabled=found.number == 1, help=t("runs.newer"), key="before"):
            page_state.put(page=found.number - 1 if found.number > 2 else None)
            st.rerun()
        st.text(t("runs.page", n=found.number))
        if st.button("", icon=":material/chevron_right:", disabled=not found.more, help=t("runs.older"), key="after"):
            page_state.put(page=found.number + 1)
            st.rerun()
