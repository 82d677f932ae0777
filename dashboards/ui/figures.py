"""Curves and intervals, which readers wait for: drawn by a script of ours (``figures.js``) in a few milliseconds.

Streamlit draws other charts (``charts``) with Vega, whose interpreter took most of the time in which six runs were compared. What
a figure shows can be read off by pointing, by touching, and with the arrow keys. A record of ``intervals``::

    {"metric": "gsm8k.accuracy", "run": "A 1", "value": 0.61, "low": 0.57, "high": 0.65}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from components.run_records import extremes
from dashboards.ui import charts, numbers, safe
from dashboards.ui.text import t

_MOST = 600  # points of a line; a screen hardly has more pixels for it
_ENDS = ("value", "low", "high")
_HTML = """
<div class="figure" role="group" tabindex="0">
  <div class="legend"></div>
  <div class="place"></div>
  <div class="tip" role="status"></div>
  <button class="larger" type="button"><svg viewBox="0 0 16 16"><path d="M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4"/></svg></button>
</div>
"""


@dataclass(frozen=True)
class Line:
    """A line of a figure.

    Attributes:
        x, y: its points, all finite, ``x`` ascending.
        raw: unsmoothed values at the same places, drawn faintly behind; None for none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    raw: Sequence[float] | None = None


def lines(
    found: Sequence[Line],
    names: Sequence[str],
    titles: tuple[str, str],
    *,
    height: int,
    key: str,
    alt: str,
    log: bool = False,
) -> None:
    """Draws lines into one figure. Of a long one the extremes are kept.

    Args:
        names: of all lines in the order of their colours; a name without a line only keeps its colour.
        titles: of the two axes.
        alt: what it shows, for those who don't see it.
        log: whether the y axis is logarithmic; all values must be positive.
    """
    colours = _colours(names)
    shown = [
        {
            "name": safe.visible(each.name),
            "colour": colours[names.index(each.name)],
            **_points(each.x, each.y),
            "raw": None if each.raw is None else _points(each.x, each.raw),
        }
        for each in found
    ]
    _draw({"lines": shown, "titles": titles, "log": log}, names, height, key, alt)


def intervals(
    rows: Sequence[Mapping[str, Any]],
    label: str,
    series: str,
    names: Sequence[str],
    title: str,
    *,
    height: int,
    key: str,
    alt: str,
    zero: bool = False,
) -> None:
    """Draws estimates as points with their intervals: fields ``value``, ``low``, ``high``, one row each for ``label``.

    Args:
        series: the field with the name that gives a row its colour.
        zero: whether the axis has zero, with a line at it.
    """
    colours = _colours(names)
    shown: list[dict[str, Any]] = [
        {
            "label": safe.visible(row[label]),
            "name": safe.visible(row[series]),
            "colour": colours[names.index(row[series])],
            **{end: row.get(end) for end in _ENDS},
        }
        for row in rows
    ]
    labels = sorted({each["label"] for each in shown})
    _draw({"rows": shown, "labels": labels, "titles": [title], "zero": zero}, names, height, key, alt)


def estimates(
    found: Sequence[tuple[str, Mapping[str, Any]]], name: str, title: str, *, height: int, key: str, alt: str, zero: bool = False
) -> None:
    """``intervals`` of one name: a label and its fields ``value``, ``low`` and ``high`` for each row."""
    rows = [{"label": label, "name": name, **{end: each.get(end) for end in _ENDS}} for label, each in found]
    intervals(rows, "label", "name", [name], title, height=height, key=key, alt=alt, zero=zero)


def _points(x: Sequence[float], y: Sequence[float]) -> dict[str, list[float]]:
    kept = extremes(y, _MOST)
    return {"x": [x[i] for i in kept], "y": [float(f"{y[i]:.6g}") for i in kept]}


def _colours(names: Sequence[str]) -> list[str]:
    return [charts.PALETTE[place % len(charts.PALETTE)] for place in range(len(names))]


def _draw(data: Mapping[str, Any], names: Sequence[str], height: int, key: str, alt: str) -> None:
    decimal, thousands = numbers.signs()
    said = {"decimal": decimal, "thousands": thousands, "larger": t("ui.larger"), "alt": alt, "height": height}
    _component()(data={**data, **said, "names": [safe.visible(name) for name in names], "colours": _colours(names)}, key=key)


@cache
def _component() -> Any:
    script, style = (Path(__file__).with_name(f"figures.{end}").read_text(encoding="utf-8") for end in ("js", "css"))
    return st.components.v2.component("lapidar.figures", html=_HTML, css=style, js=script)
