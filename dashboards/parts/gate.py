"""A gate on a page: the verdict, and every check with its reason and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboards.ui import figures, numbers, safe, sentences
from dashboards.ui.text import t

_ORDER = {"fail": 0, "unknown": 1, "pass": 2}


def draw(gate: Mapping[str, Any]) -> None:
    """All findings, what didn't pass first; differences as intervals around zero."""
    reasons = sorted(gate["reasons"], key=lambda reason: _ORDER.get(reason["verdict"], 1))
    st.caption(summary(reasons))
    for verdict in ("fail", "unknown", "pass"):
        found = [reason for reason in reasons if reason["verdict"] == verdict]
        if not found:
            continue
        with st.container(border=True):
            for place, reason in enumerate(found):
                _finding(reason, first=place == 0 or found[place - 1]["check"] != reason["check"])
    _differences(reasons)
    with st.expander(t("gate.figures"), icon=":material/data_object:"):
        st.json({f"{i + 1} {reason['check']}": reason.get("figures", {}) for i, reason in enumerate(reasons)}, expanded=1)


def summary(reasons: Sequence[Mapping[str, Any]]) -> str:
    """How many checks passed, failed, and are unknown."""
    count = {verdict: sum(reason["verdict"] == verdict for reason in reasons) for verdict in _ORDER}
    return t("gate.counted", passed=count["pass"], failed=count["fail"], unknown=count["unknown"])


def _finding(reason: Mapping[str, Any], first: bool) -> None:
    """Sign and check, at the first of several what it asks, and below them the reason."""
    check = str(reason["check"])
    asks = numbers.check(check, "asks") if first else ""
    words = f"**{safe.plain(numbers.check(check) or check)}**{f' · {asks}' if asks else ''}"
    st.markdown(f"{numbers.verdict(reason['verdict'])} {words}  \n{safe.plain(sentences.reason(reason), 600)}")


def _differences(reasons: Sequence[Mapping[str, Any]]) -> None:
    found = [
        (f"{f['benchmark']} {f['metric']}", f)
        for reason in reasons
        if {"value", "low", "high", "call", "benchmark", "metric"} <= (f := reason.get("figures", {})).keys()
    ]
    if not found:
        return
    words, height = t("gate.differences"), 60 + 34 * len(found)
    st.markdown(f"**{words}**")
    figures.estimates(found, t("gate.difference"), t("gate.against"), height=height, key="gate-differences", alt=words, zero=True)
