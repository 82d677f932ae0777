"""A version's scores: every stage with its interval, what was truncated or couldn't be read, and noise floors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboards.ui import export, figures, numbers, page_state
from dashboards.ui.text import t

_SHARES = ("truncated", "unparsed")


def draw(evidence: Mapping[str, Any], name: str) -> None:
    """A table a benchmark, and the chosen metric from stage to stage."""
    evaluation = evidence["evaluation"]
    floors = (evidence.get("noise") or {}).get("floors", {})
    rows = [
        _row(benchmark, metric, value, found, floors) for benchmark, found in evaluation.items() for metric, value in _own(found)
    ]
    st.dataframe(rows, hide_index=True, width="stretch")
    if not floors:
        st.caption(t("scores.no_floors"))
    export.download(rows, f"scores-{name}")
    _stages(evidence)


def _own(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The metrics without the shares, which stand beside each."""
    return [(metric, value) for metric, value in found.items() if metric.partition("@")[0] not in _SHARES]


def _row(
    benchmark: str, metric: str, value: Mapping[str, Any], found: Mapping[str, Any], floors: Mapping[str, Any]
) -> dict[str, Any]:
    at = f"@{metric.partition('@')[2]}" if "@" in metric else ""
    floor = floors.get(benchmark, {}).get(metric)
    shares = {t(f"scores.at_{share}"): _share(found.get(share + at)) for share in _SHARES}
    return {
        t("scores.suite"): benchmark,
        t("scores.metric"): metric,
        t("scores.value"): numbers.interval(value),
        "n": value.get("n"),
        **shares,
        t("scores.floor"): f"±{numbers.figure(floor['half_width'], '.3f')} ({floor['runs']})" if floor else "–",
    }


def _share(found: Mapping[str, Any] | None) -> str:
    return f"{numbers.figure(100 * found['value'], '.1f')} %" if found else "–"


def _stages(evidence: Mapping[str, Any]) -> None:
    """From the base to what is served, so that it shows whether each stage helped."""
    order = [stage["name"] for stage in evidence["stages"]]
    found = sorted(evidence["metrics"].items(), key=lambda each: order.index(each[0]) if each[0] in order else len(order))
    choices = list(dict.fromkeys(f"{b} · {m}" for _, benchmarks in found for b, metrics in benchmarks.items() for m in metrics))
    if not choices:
        return
    st.markdown(f"##### {t('scores.stages')}")
    asked = page_state.get("metric", choices[0], choices)
    chosen = st.selectbox(t("scores.metric"), choices, index=choices.index(asked), key="scores-metric")
    page_state.put(metric=None if chosen == choices[0] else chosen)
    benchmark, _, metric = chosen.partition(" · ")
    shown = [
        (f"{i + 1} {stage}", value)
        for i, (stage, benchmarks) in enumerate(found)
        if (value := benchmarks.get(benchmark, {}).get(metric)) and value.get("low") is not None
    ]
    if shown:
        figures.estimates(shown, chosen, metric, height=60 + 34 * len(shown), key="stages", alt=t("scores.stages"))
