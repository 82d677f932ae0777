"""What a version carries, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st
import yaml

from dashboards.ui import export, numbers, safe
from dashboards.ui.text import t


def draw(shown: Mapping[str, Any]) -> None:
    """Origin, scores, parity, sizes, speed, stages, recipe; and all of it as a file."""
    evidence = shown["evidence"]
    _pairs(t("evidence.origin"), _origin(evidence))
    st.markdown(f"##### {t('evidence.parity')}")
    st.caption(t("evidence.parity_help"))
    st.dataframe(parity(evidence["parity"]), hide_index=True, width="stretch")
    left, right = st.columns(2)
    with left:
        sizes = [(name, numbers.size(count)) for name, count in evidence.get("sizes", {}).items()]
        _pairs(t("evidence.sizes"), sizes)
    with right:
        speed = evidence.get("speed") or {}
        machine = evidence.get("machine") or {}
        measured = [(t(f"evidence.at_{name}"), numbers.number(speed[name])) for name in _SPEED if name in speed]
        _pairs(t("evidence.speed"), [*measured, *((t("evidence.cpu"), machine[k]) for k in ("cpu",) if k in machine)])
    st.markdown(f"##### {t('evidence.stages')}")
    stages = [
        {
            t("evidence.stage"): stage["name"],
            t("evidence.method"): stage["method"],
            t("evidence.status"): numbers.state(stage["status"]) if stage.get("status") else "–",
            t("evidence.seconds"): numbers.duration(stage.get("seconds")),
            t("evidence.key"): str(stage.get("key", ""))[:16],
        }
        for stage in evidence["stages"]
    ]
    st.dataframe(stages, hide_index=True, width="stretch")
    with st.expander(t("evidence.recipe"), icon=":material/description:"):
        safe.code(yaml.safe_dump(evidence["recipe"], sort_keys=False, allow_unicode=True), "yaml", height=420)
    export.download([{"name": key, "value": value} for key, value in evidence.items()], f"{shown['name']}-{shown['version']}")


_SPEED = ("first_token_ms", "tokens_per_second")


def parity(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a hand-over: trained → merged → exported → reloaded."""
    names = [name for name in found if name != "ok"]
    order = sorted(names, key=lambda name: (name.startswith("reload"), name != "merged", name))
    return [
        {
            t("evidence.hand_over"): name,
            t("evidence.holds"): "✓" if found[name].get("ok") else "✗",
            t("evidence.top1"): numbers.share(found[name].get("top1")),
            t("evidence.kl"): numbers.number(found[name].get("kl")),
            t("evidence.logits"): numbers.number(found[name].get("max_logit_difference")),
        }
        for name in order
        if isinstance(found[name], Mapping)
    ]


def _origin(evidence: Mapping[str, Any]) -> list[tuple[str, Any]]:
    dataset, code, recipe = evidence["dataset"], evidence["code"], evidence["recipe"]
    clean = {True: t("evidence.clean"), False: t("evidence.unclean")}.get(code.get("clean"), t("evidence.unknown"))
    return [
        (t("evidence.dataset"), " @ ".join(str(part)[:12] for part in (dataset.get("md5"), dataset.get("revision")) if part)),
        (t("evidence.recipe"), recipe.get("name")),
        (t("evidence.base"), (recipe.get("model") or {}).get("source")),
        (t("evidence.code"), f"{str(code.get('revision'))[:12]} ({clean})"),
        (t("evidence.lock"), str(evidence["lock"])[:16]),
        (t("evidence.seeds"), ", ".join(f"{name} {seed}" for name, seed in evidence["seeds"].items())),
        (t("evidence.template"), str(evidence["chat_template"])[:16]),
        (t("evidence.licence"), evidence["licence"]),
        (t("evidence.runs"), ", ".join(f"{name} {run}" for name, run in evidence["runs"].items())),
    ]


def _pairs(title: str, rows: list[tuple[str, Any]]) -> None:
    st.markdown(f"##### {title}")
    if not rows:
        st.caption(t("evidence.nothing"))
        return
    lines = [f"| {safe.plain(name)} | {safe.plain('–' if value is None else value)} |" for name, value in rows]
    st.markdown("\n".join(["| | |", "|:--|:--|", *lines]))
