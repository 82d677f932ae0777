"""Views of a model on a page: asked of the model server, drawn as tables, curves and heat maps."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from components.inference.client import ServerDown, ServerError
from components.inference.looking import look
from components.inspection import Document
from dashboards import ui
from dashboards.ui import charts, export, safe, states
from dashboards.ui.text import t


def ask(model: str, view: str, options: dict[str, Any] | None = None, prompt: str = "", chat: bool = False) -> Document | None:
    """A view; None and a helpful page where the server is down or the model has nothing of the kind."""
    try:
        return _asked(str(ui.settings().root), model, view, json.dumps(options or {}), prompt, chat)
    except ServerDown as error:
        states.broken(t("documents.down"), str(error), t("documents.down_todo"), "lapidar up")
    except ServerError as error:
        states.broken(t("documents.refused"), str(error), t("documents.refused_todo"))
    return None


@st.cache_data(ttl=600, max_entries=64, show_spinner=True)
def _asked(home: str, model: str, view: str, options: str, prompt: str, chat: bool) -> Document:
    return look(ui.settings(), model, view, json.loads(options), prompt, chat)


def notes(document: Document) -> None:
    """What was left out or can't be trusted."""
    for note in document.notes:
        st.caption(f":material/info: {safe.plain(note, 500)}")


def table(document: Document, name: str, without: tuple[str, ...] = ()) -> None:
    """Every column but those that are drawn already; lists as JSON, so that nothing is drawn as markup."""
    rows = [
        {key: json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value for key, value in row.items()}
        for row in document.rows
    ]
    rows = [{key: value for key, value in row.items() if key not in without} for row in rows]
    st.dataframe(rows, hide_index=True, width="stretch")
    export.download(rows, name, key=f"{name}-{document.view}")


def heat(rows: list[dict[str, Any]], x: str, y: str, value: str, title: str, key: str, height: int = 320) -> None:
    """A heat map of records; columns and rows keep the order in which they come."""
    import altair as alt

    source: Any = alt.Data
    tips = [alt.Tooltip(x, type="nominal"), alt.Tooltip(y, type="nominal"), alt.Tooltip(value, type="quantitative", format=".4g")]
    chart = (
        alt.Chart(source(values=rows))
        .mark_rect()
        .encode(
            x=alt.X(x, type="nominal", sort=None, title=None, axis=alt.Axis(labelLimit=90, labelAngle=-45)),
            y=alt.Y(y, type="nominal", sort=None, title=None, axis=alt.Axis(labelLimit=90)),
            color=alt.Color(value, type="quantitative", title=title, scale=_scale()),
            tooltip=tips,
        )
    )
    charts.draw(chart, height=height, key=key, alt_text=title)


def _scale() -> Any:
    import altair as alt

    scale: Any = alt.Scale
    return scale(scheme=charts.SEQUENTIAL)
