"""What a version was measured with: scores with intervals, answers, another version beside it, contamination, judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import streamlit as st

from components import comparison, noise
from components.contamination import found as contaminated
from components.errors import InputError
from dashboards import ui
from dashboards.parts import answers, contamination, judged, scores, versions
from dashboards.ui import export, figures, numbers, page_state, safe, sentences, states
from dashboards.ui.text import t

SECTIONS = ("scores", "compare", "answers", "contamination", "judge")


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_evaluation"))
    version = versions.choose()
    if version is None:
        return
    shown = versions.shown(version.uri)
    page_state.link(
        "registry", t("evaluation.to_registry"), {"model": version.name, "version": version.version}, ":material/verified:"
    )
    section = st.segmented_control(
        t("evaluation.section"),
        SECTIONS,
        default=page_state.get("section", "scores", SECTIONS),
        format_func=lambda name: t(f"evaluation.section_{name}"),
        label_visibility="collapsed",
        required=True,
        key="evaluation-section",
    )
    page_state.put(section=None if section == "scores" else section)
    with states.guarded():
        _draw(str(section), shown)


def _draw(section: str, shown: Mapping[str, Any]) -> None:
    evidence = shown["evidence"]
    if section == "scores":
        if evidence["evaluation"]:
            scores.draw(evidence, f"{shown['name']}-{shown['version']}")
        else:
            states.empty(t("evaluation.none"), t("evaluation.none_todo"), f"lapidar evaluate {shown['uri']} quick")
    elif section == "compare":
        _compare(shown)
    elif section == "answers":
        answers.draw(versions.items(shown["uri"]))
    elif section == "contamination":
        contamination.draw(evidence["contamination"], contaminated.matches(evidence, ui.settings()))
    else:
        judged.draw(evidence)


def _compare(shown: Mapping[str, Any]) -> None:
    """The version minus another one, on the items that both answered."""
    others = {each.uri: each for each in versions.all_versions() if each.uri != shown["uri"]}
    if not others:
        st.caption(t("evaluation.no_other"))
        return
    champion = next((uri for uri, each in others.items() if each.name == shown["name"] and "champion" in each.aliases), None)
    same = next((uri for uri, each in others.items() if each.name == shown["name"]), next(iter(others)))
    asked = page_state.get("with", champion or same, others)
    other = st.selectbox(
        t("evaluation.with"),
        list(others),
        index=list(others).index(asked),
        format_func=lambda uri: f"{others[uri].name} {versions.label(others[uri])}",
        key="evaluation-with",
    )
    page_state.put(**{"with": other})
    ours, theirs = versions.items(shown["uri"]), versions.items(other)
    if not ours or not theirs:
        st.caption(t("evaluation.no_items"))
        return
    floors = noise.merged(_floors(shown), _floors(versions.shown(other)))
    try:
        found = comparison.compare(ours, theirs, floors=floors)
    except InputError as error:
        states.broken(
            t("evaluation.not_comparable"), str(error), t("evaluation.not_comparable_todo"), f"lapidar evaluate {other} quick"
        )
        return
    _differences(found, shown["uri"], other)
    left = comparison.left_out(ours, theirs)
    for uri, only in ((shown["uri"], left.first), (other, left.second)):
        if only:
            st.caption(
                t("evaluation.only", version=safe.plain(uri.removeprefix("models:/")), what=safe.plain(", ".join(only), 2000))
            )


def _floors(shown: Mapping[str, Any]) -> noise.Floors:
    return noise.from_json((shown["evidence"].get("noise") or {}).get("floors", {}))


def _differences(found: list[comparison.Comparison], ours: str, theirs: str) -> None:
    icons = {"better": ":green-badge[:material/trending_up: {}]", "worse": ":red-badge[:material/trending_down: {}]"}
    for each in found:
        badge = icons.get(each.call, ":gray-badge[:material/trending_flat: {}]").format(sentences.call(each.to_dict()))
        st.markdown(
            f"{badge} **{safe.plain(each.benchmark)} {safe.plain(each.metric)}** {numbers.interval(each.to_dict(), signed=True)}"
        )
        st.caption(safe.plain(sentences.comparison(each.to_dict()), 500))
    name = t("evaluation.minus", a=ours.removeprefix("models:/"), b=theirs.removeprefix("models:/"))
    shown = [(f"{each.benchmark} {each.metric}", asdict(each.difference)) for each in found]
    height = 70 + 34 * len(shown)
    figures.estimates(shown, name, t("evaluation.difference"), height=height, key="evaluation-differences", alt=name, zero=True)
    export.download([each.to_dict() for each in found], "comparison")
