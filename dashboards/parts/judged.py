"""A judge's verdict and its audit, and people's votes, as a version carries them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboards.ui import numbers, safe, states
from dashboards.ui.text import t


def draw(evidence: Mapping[str, Any]) -> None:
    """Whether the judge may be believed comes before what it says."""
    judgement, votes = evidence.get("judgement") or {}, evidence.get("votes") or {}
    policy = (evidence["recipe"].get("register") or {}).get("judge") or {}
    if not judgement:
        states.empty(
            t("judged.none"), t("judged.none_todo"), "lapidar judge models:/A/1 models:/B/1 PROMPTS --judge J", ":material/balance:"
        )
    else:
        _judge(judgement, policy)
    if votes:
        st.markdown(f"##### {t('judged.votes')}")
        left, middle, right = st.columns(3)
        left.metric(t("judged.win_rate"), numbers.interval(votes.get("win_rate")))
        middle.metric(t("judged.reviewers"), numbers.number(votes.get("reviewers")))
        right.metric(t("judged.agreement"), numbers.interval(votes.get("agreement")))


def _judge(found: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
    audit = found.get("audit") or {}
    st.markdown(f"##### {t('judged.judge')}: {safe.plain(found.get('judge'))}")
    left, middle, right = st.columns(3)
    for place, name, least in ((left, "kappa", "min_kappa"), (middle, "consistency", "min_consistency")):
        place.metric(t(f"judged.at_{name}"), numbers.interval(audit.get(name)), border=True)
        if policy.get(least) is not None:
            place.caption(t("judged.least", value=policy[least]))
    right.metric(t("judged.win_rate"), numbers.interval(found.get("win_rate")), border=True)
    right.caption(t("judged.against", digest=str(found.get("against"))[:12], n=found.get("prompts", "–")))
    for sentence in found.get("diagnosis") or []:
        text = sentence if isinstance(sentence, str) else sentence.get("text", str(sentence))
        st.markdown(f":material/lightbulb: {safe.plain(text, 500)}")
    with st.expander(t("judged.audit"), icon=":material/data_object:"):
        st.json(dict(audit), expanded=1)
