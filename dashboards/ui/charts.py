"""Charts in one look: one palette that is readable on light and on dark, no background of its own, quiet axes.

Curves and intervals, which are what readers wait for, are drawn by ``figures``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboards.ui import numbers

if TYPE_CHECKING:
    import altair as alt

PALETTE = ["#0d9488", "#e0703a", "#5b7fd9", "#c2549d", "#94a21f", "#8b6fd0"]
"""Six colours with a contrast of 3 and more on white and on the dark background; also in config.toml."""
DIVERGING = "blueorange"
_GREY = "#8a9694"


def draw(chart: Any, height: int | None = None, key: str | None = None, alt_text: str | None = None) -> None:
    """Draws an Altair chart in the dashboard's look, as wide as its place."""
    if height is not None:
        chart = chart.properties(height=height)
    decimal, thousands = numbers.signs()
    if decimal != ".":
        chart = chart.configure(
            locale={"number": {"decimal": decimal, "thousands": thousands, "grouping": [3], "currency": ["", ""]}}
        )
    st.altair_chart(chart, width="stretch", key=key, alt=alt_text)


def colour(field: str, names: Sequence[str], title: str | None = None) -> alt.Color:
    """The palette over names, the same name in the same colour on the whole page."""
    import altair as alt

    scale = alt.Scale(domain=list(names), range=[PALETTE[i % len(PALETTE)] for i in range(len(names))])
    legend = alt.Legend(orient="top", labelLimit=260, symbolOpacity=1) if len(names) > 1 else None
    return alt.Color(field, type="nominal", scale=scale, title=title, legend=legend)


def grouped(rows: Any, x: str, y: str, series: str, names: Sequence[str], title: str) -> Any:
    """Horizontal bars, for each ``y`` one of each series, in the order of the rows."""
    import altair as alt

    return (
        alt.Chart(records(rows))
        .mark_bar(cornerRadius=2)
        .encode(
            x=alt.X(x, type="quantitative", title=title, axis=alt.Axis(tickCount=8)),
            y=alt.Y(y, type="nominal", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=160, grid=False)),
            yOffset=alt.YOffset(series, type="nominal", sort=list(names), scale=alt.Scale(paddingOuter=0.3, paddingInner=0.1)),
            color=colour(series, names),
            tooltip=[_tip(y), _tip(series), alt.Tooltip(x, type="quantitative", format=".1f")],
        )
    )


def histogram(rows: Any, low: str, high: str, count: str, titles: tuple[str, str]) -> Any:
    """Bars over whole numbers from ``low`` to before ``high``."""
    import altair as alt

    return (
        alt.Chart(records(rows))
        .mark_bar(color=PALETTE[0])
        .encode(
            x=alt.X(low, type="quantitative", bin="binned", title=titles[0], scale=alt.Scale(zero=False), axis=_whole(10)),
            x2=alt.X2(high),
            y=alt.Y(count, type="quantitative", title=titles[1], axis=alt.Axis(tickCount=4)),
            tooltip=[alt.Tooltip(each, type="quantitative", format=",") for each in (low, count)],
        )
    )


def counts(rows: Any, name: str, count: str, title: str) -> Any:
    """A bar a name, the longest first."""
    import altair as alt

    return (
        alt.Chart(records(rows))
        .mark_bar(color=PALETTE[0], cornerRadius=2)
        .encode(
            x=alt.X(count, type="quantitative", title=title, axis=_whole(6)),
            y=alt.Y(
                name, type="nominal", sort="-x", title=None, axis=alt.Axis(ticks=False, domain=False, grid=False, labelLimit=200)
            ),
            tooltip=[_tip(name), alt.Tooltip(count, type="quantitative", format=",")],
        )
    )


def _whole(ticks: int) -> alt.Axis:
    import altair as alt

    return alt.Axis(grid=False, tickCount=ticks, tickMinStep=1, format=",d")


def timeline(rows: Any, begin: str, end: str, label: str, state: str, titles: tuple[str, str]) -> Any:
    """Bars from begin to end in seconds, one line for each label in the order of the rows, coloured and named by state."""
    import altair as alt

    colours = {
        "ran": PALETTE[0],
        "finished": PALETTE[0],
        "cached": _GREY,
        "running": PALETTE[2],
        "failed": "#d64545",
        "killed": PALETTE[1],
    }
    found = list(dict.fromkeys(row[state] for row in rows))
    scale = alt.Scale(domain=[numbers.state(each) for each in found], range=[colours.get(each, _GREY) for each in found])
    base = alt.Chart(records([{**row, state: numbers.state(row[state])} for row in rows])).encode(
        y=alt.Y(label, type="nominal", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=160)),
        x=alt.X(begin, type="quantitative", title=titles[0], axis=alt.Axis(tickCount=10)),
        x2=alt.X2(end),
        color=alt.Color(state, type="nominal", scale=scale, title=None, legend=alt.Legend(orient="top")),
        tooltip=[_tip(label), _tip("method"), alt.Tooltip("took", type="nominal", title=titles[1]), _tip(state)],
    )
    points = base.transform_filter(f"datum['{end}'] - datum['{begin}'] < 0.05").mark_point(filled=True, size=50, opacity=1)
    return base.mark_bar(cornerRadius=3, height=14) + points


def _tip(field: str) -> alt.Tooltip:
    import altair as alt

    return alt.Tooltip(field, type="nominal")


def plane(rows: Any, x: str, y: str, label: str, group: str, names: Sequence[str], titles: tuple[str, str]) -> Any:
    """Points with their labels; those of the first group in colour and in front, the others grey, with a label if ``named``."""
    import altair as alt

    scale = alt.Scale(domain=list(names), range=[PALETTE[0], _GREY])
    base = alt.Chart(records(rows)).encode(
        x=alt.X(x, type="quantitative", title=titles[0], axis=alt.Axis(grid=False, tickCount=6)),
        y=alt.Y(y, type="quantitative", title=titles[1], axis=alt.Axis(grid=False, tickCount=6)),
        color=alt.Color(group, type="nominal", scale=scale, title=None, legend=alt.Legend(orient="top", symbolOpacity=1)),
        tooltip=[_tip(label), _tip(group), *(alt.Tooltip(axis, type="quantitative", format=".3f") for axis in (x, y))],
    )
    own, others = f"datum['{group}'] == {json.dumps(names[0])}", f"datum['{group}'] != {json.dumps(names[0])}"
    behind = base.transform_filter(others)
    front = base.transform_filter(own)
    return (
        behind.mark_point(filled=True, size=24, opacity=0.6)
        + behind.transform_filter("datum.named")
        .mark_text(dy=-8, fontSize=10, opacity=0.75)
        .encode(text=alt.Text(label, type="nominal"))
        + front.mark_point(filled=True, size=70, opacity=1)
        + front.mark_text(dy=-11, fontSize=13, fontWeight=600).encode(text=alt.Text(label, type="nominal"))
    )


def deepening() -> Any:
    """A scale from nearly nothing to the first colour: on light and on dark what is larger stands out more."""
    import altair as alt

    return alt.Scale(range=["rgba(13, 148, 136, 0.06)", "rgba(13, 148, 136, 1)"], interpolate="rgb")


def ink() -> str:
    """The colour of text on the page's own ground."""
    return "#e7eeec" if getattr(st.context.theme, "type", "light") == "dark" else "#17211f"


def records(rows: Any) -> Any:
    """A data frame of records. Streamlit sends it as Arrow; rows within a chart are checked one by one, which takes seconds."""
    import pandas as pd

    return pd.DataFrame(rows)
