"""Curves of training with their controls: smoothing, steps or time, logarithmic or not. The address keeps what was set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import streamlit as st

from components.run_records import Curve, smoothed
from dashboards.ui import figures, numbers, page_state, safe
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
            figures.lines(
                [_line(each, names[each.run], axis, weight) for each in own],
                list(names.values()),
                (t(f"ui.axis_{axis}"), safe.visible(metric)),
                height=260,
                key=f"{key}-{stage}-{metric}",
                alt=f"{stage} {metric}",
                log=log and all(value > 0 for each in own for value in each.values),
            )


def _controls(key: str) -> tuple[str, float, bool]:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        axis = page_state.choose(t("ui.axis"), ("step", "time"), f"{key}_axis", "step", lambda name: t(f"ui.axis_{name}"))
        weight = st.slider(t("ui.smoothing"), 0.0, 0.95, 0.0, 0.05, key=f"{key}_smooth", bind="query-params", width=220)
        log = st.toggle(t("ui.log_scale"), key=f"{key}_log", bind="query-params")
    return axis, float(weight), bool(log)


def _line(each: Curve, name: str, axis: str, weight: float) -> figures.Line:
    places: Sequence[float] = each.steps if axis == "step" else each.times
    values = smoothed(each.values, weight)
    kept = [place for place, value in enumerate(each.values) if math.isfinite(value)]
    raw = [each.values[i] for i in kept] if weight else None
    return figures.Line(name, [places[i] for i in kept], [values[i] for i in kept], raw)


def _single(own: Sequence[Curve], names: Mapping[str, str]) -> None:
    """A metric that was said once only is a number, not a curve."""
    for each in own:
        if each.values:
            st.text(f"{names[each.run]}: {numbers.figure(each.values[-1], '.4g')}")
