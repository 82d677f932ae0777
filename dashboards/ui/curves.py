"""Curves of training with their controls: smoothing, steps or time, logarithmic or not. The address keeps what was set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from components.run_records import Curve, smoothed
from dashboards.ui import charts, numbers, page_state, safe
from dashboards.ui.text import t

_WIDE = 2


def draw(found: Sequence[Curve], names: Mapping[str, str], key: str) -> None:
    """One chart a (stage, metric), a line a run.

    Args:
        names: what each run is called, in the order of the colours.
    """
    axis, weight, log = _controls(key)
    pairs = list(dict.fromkeys((each.stage, each.metric) for each in found))
    columns = st.columns(min(_WIDE, len(pairs))) if pairs else []
    for number, (stage, metric) in enumerate(pairs):
        own = [each for each in found if (each.stage, each.metric) == (stage, metric)]
        with columns[number % len(columns)]:
            st.markdown(f"**{safe.plain(stage)}** · {safe.plain(metric)}")
            if all(len(each.steps) < 2 for each in own):
                _single(own, names)
                continue
            rows = [row for each in own for row in _rows(each, names[each.run], axis, weight)]
            positive = log and all(value > 0 for each in own for value in each.values)
            titles = (t(f"ui.axis_{axis}"), metric)
            shown = charts.lines(rows, "x", "value", "run", list(names.values()), titles, "raw" if weight else None, positive)
            charts.draw(shown, 260, key=f"{key}-{stage}-{metric}", alt_text=f"{stage} {metric}")


def _controls(key: str) -> tuple[str, float, bool]:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        axis = page_state.choose(t("ui.axis"), ("step", "time"), f"{key}_axis", "step", lambda name: t(f"ui.axis_{name}"))
        weight = st.slider(t("ui.smoothing"), 0.0, 0.95, 0.0, 0.05, key=f"{key}_smooth", bind="query-params", width=220)
        log = st.toggle(t("ui.log_scale"), key=f"{key}_log", bind="query-params")
    return axis, float(weight), bool(log)


def _rows(each: Curve, name: str, axis: str, weight: float) -> list[dict[str, float | str]]:
    places = each.steps if axis == "step" else each.times
    values = smoothed(each.values, weight)
    return [
        {"x": x, "value": value, "raw": raw, "run": name}
        for x, value, raw in zip(places, values, each.values, strict=True)
        if value == value and abs(value) != float("inf")
    ]


def _single(own: Sequence[Curve], names: Mapping[str, str]) -> None:
    """A metric that was said once only is a number, not a curve."""
    for each in own:
        if each.values:
            st.text(f"{names[each.run]}: {numbers.figure(each.values[-1], '.4g')}")
