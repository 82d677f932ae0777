"""Views of a model on a page: asked of the model server, drawn as tables, curves and heat maps."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from components.inference.client import ServerDown, ServerError
from components.inference.looking import look
from components.inspection import Document
from dashboards import ui
from dashboards.ui import charts, export, safe, states, tables
from dashboards.ui.text import t


def ask(model: str, view: str, options: dict[str, Any] | None = None, prompt: str = "", chat: bool = False) -> Document | None:
    """A view; None and a helpful page where the server is down or the model has nothing of the kind."""
    try:
        return _asked(str(ui.settings().root), model, view, json.dumps(options or {}), prompt, chat)
    except ServerDown as error:
        states.broken(t("documents.down"), error.what, t("documents.down_todo"), "lapidar up")
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


def table(document: Document, name: str, rows: list[dict[str, Any]] | None = None) -> None:
    """A view's rows in the reader's words, and all of its columns to save.

    Args:
        name: of the saved files.
        rows: what the page shows; every column where it says nothing. Lists become JSON, so that nothing is drawn as markup.
    """
    every = [
        {key: json.dumps(v, ensure_ascii=False) if isinstance(v, (list, dict)) else v for key, v in row.items()}
        for row in document.rows
    ]
    tables.draw(every if rows is None else rows)
    export.download(every, name, key=f"{name}-{document.view}")


def heat(
    rows: list[dict[str, Any]],
    x: str,
    y: str,
    value: str,
    title: str,
    key: str,
    height: int = 320,
    text: str | None = None,
    between: tuple[float, float] | None = None,
    legend: bool = True,
) -> None:
    """A heat map of records; columns and rows keep the order in which they come.

    Args:
        text: field that is written into the cells, over half of the scale in white.
        between: ends of the scale, where they aren't the least and the largest value.
        legend: False where the cells say their values themselves.
    """
    import altair as alt

    named = [alt.Tooltip(name, type="nominal") for name in (x, y, text) if name]
    tips = [*named, alt.Tooltip(value, type="quantitative", format=".4g")]
    base = alt.Chart(charts.records(rows)).encode(
        x=alt.X(x, type="nominal", sort=None, title=None, axis=_across([str(row[x]) for row in rows])),
        y=alt.Y(y, type="nominal", sort=None, title=None, axis=alt.Axis(labelLimit=90)),
        tooltip=tips,
    )
    least, most = between or (min(row[value] for row in rows), max(row[value] for row in rows))
    scale = charts.deepening()
    scale.domain = [least, most]
    beside: dict[str, Any] = {} if legend else {"legend": None}
    drawn: Any = base.mark_rect().encode(color=alt.Color(value, type="quantitative", title=title, scale=scale, **beside))
    if text:
        colour = alt.condition(f"datum['{value}'] > {(least + most) / 2}", alt.value("white"), alt.value(charts.ink()))
        room = alt.ExprRef(f"width / {len({row[x] for row in rows})} - 4")  # what doesn't fit into its cell is cut
        drawn += base.mark_text(fontSize=11, limit=room).encode(text=alt.Text(text, type="nominal"), color=colour)
    charts.draw(drawn, height=height, key=key, alt_text=title)


def _across(names: list[str]) -> Any:
    """Short names stand upright; longer ones lean, and all of them are written where there is room."""
    import altair as alt

    lean, crowded = max(map(len, names), default=0) > 3, len(set(names)) > 40
    return alt.Axis(labelLimit=90, labelAngle=-45 if lean else 0, labelOverlap="parity" if crowded else False)
