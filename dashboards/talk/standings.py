"""What the votes say: models by strength with their intervals, and how far reviewers agree."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import streamlit as st

from components.errors import LapidarError
from components.reviews import arena
from components.reviews.standing import votes
from components.settings import Settings
from dashboards.ui import export, figures, numbers, safe, states, tables
from dashboards.ui.text import t


def draw(settings: Settings) -> None:
    """Draws the ranking; without votes, what to do for one."""
    found = votes(settings)
    if not found:
        states.empty(t("arena.no_votes"), t("arena.no_votes_todo"), icon=":material/how_to_vote:")
        return
    left, middle, right = st.columns(3)
    left.metric(t("arena.votes"), numbers.number(len(found)))
    middle.metric(t("arena.reviewers"), numbers.number(len({vote.reviewer for vote in found})))
    with right:
        _agreement(settings)
    _ranking(settings)


def _agreement(settings: Settings) -> None:
    try:
        alpha = arena.agreement(settings)
    except LapidarError:
        st.metric(t("arena.agreement"), "–", help=t("arena.agreement_help"))
        st.caption(t("arena.agreement_none"))
        return
    st.metric(t("arena.agreement"), numbers.figure(alpha.value, ".2f"), help=t("arena.agreement_help"))
    st.caption(t("arena.agreement_about", low=numbers.figure(alpha.low, ".2f"), high=numbers.figure(alpha.high, ".2f"), n=alpha.n))


def _ranking(settings: Settings) -> None:
    try:
        ranking = arena.ranking(settings)
    except LapidarError as error:
        states.broken(t("arena.no_ranking"), str(error), t("arena.no_ranking_todo"))
        return
    shown = [(name, asdict(found)) for name, found in ranking.points.items()]
    height, words = 90 + 46 * len(shown), t("arena.chart_alt")
    figures.estimates(shown, t("arena.points"), t("arena.points_axis"), height=height, key="arena.chart", alt=words, zero=True)
    if ranking.note:
        st.caption(safe.plain(ranking.note, 400))
    rows: list[dict[str, Any]] = [
        {
            t("arena.column_rank"): "–".join(dict.fromkeys(map(str, ranking.ranks[name]))),
            t("arena.column_model"): safe.visible(name),
            t("arena.points"): round(found.value, 1),
            t("arena.column_low"): round(found.low, 1),
            t("arena.column_high"): round(found.high, 1),
            t("arena.votes"): found.n,
        }
        for name, found in ranking.points.items()
    ]
    tables.draw(rows)
    export.download(rows, "ranking")
