"""Registered versions: why each may be promoted or not, where it comes from, who approved what; and the buttons to decide."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import lineage
from dashboards import ui
from dashboards.parts import decisions, evidence, gate, graphs, versions
from dashboards.ui import export, numbers, page_state, safe, states
from dashboards.ui.text import t

if TYPE_CHECKING:
    from components.versions import Version

SECTIONS = ("gate", "evidence", "lineage", "versions", "audit")


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_registry"))
    version = versions.choose()
    if version is None:
        return
    shown = versions.shown(version.uri)
    ours = [each for each in versions.all_versions() if each.name == version.name]
    champion = next((each for each in ours if "champion" in each.aliases), None)
    _head(shown, version, champion)
    section = st.segmented_control(
        t("registry.section"),
        SECTIONS,
        default=page_state.get("section", "gate", SECTIONS),
        format_func=lambda name: t(f"registry.section_{name}"),
        label_visibility="collapsed",
        required=True,
        key="registry-section",
    )
    page_state.put(section=None if section == "gate" else section)
    with states.guarded():
        _draw(str(section), shown, ours, champion)


def _draw(section: str, shown: Mapping[str, Any], ours: list[Version], champion: Version | None) -> None:
    if section == "gate":
        left, right = st.columns([3, 2], gap="large")
        with right, st.container(border=True):
            st.markdown(f"##### {t('registry.decide')}")
            decisions.draw(shown, champion)
        with left:
            gate.draw(shown["gate"])
            _overrides(shown)
    elif section == "evidence":
        page_state.link("evaluation", t("registry.to_evaluation"), _address(shown), ":material/fact_check:")
        evidence.draw(shown)
    elif section == "lineage":
        st.caption(t("registry.lineage_help"))
        graphs.draw(lineage.trace(shown))
    elif section == "versions":
        _table(ours)
    else:
        _audit(shown["name"])


def _head(shown: Mapping[str, Any], version: Version, champion: Version | None) -> None:
    """The version in three lines: what it is, what it scored, what it waits for."""
    badges = [numbers.verdict(shown["gate"]["verdict"])]
    badges += [f":{'violet' if alias == 'champion' else 'blue'}-badge[{safe.plain(alias)}]" for alias in shown["aliases"]]
    with st.container(border=True):
        st.markdown(f"### {safe.plain(shown['name'])} · {safe.plain(shown['version'])}  \n{' '.join(badges)}")
        scored = versions.headline(version)
        when = numbers.ago(datetime.fromtimestamp(shown["created"], UTC))
        parts = [t("registry.created", when=when), t("registry.digest", digest=shown["digest"][:12])]
        if scored:
            parts.insert(0, f"**{safe.plain(scored[0])} {numbers.interval(scored[1])}**")
        if champion is not None and champion.version != shown["version"]:
            parts.append(t("registry.champion_is", version=champion.version))
        agreed, needed = decisions.waiting(shown)
        if agreed:
            parts.append(t("registry.waits", n=len(agreed), needed=needed))
        st.markdown(" · ".join(parts))
        if run := shown["evidence"]["runs"].get("mlflow"):
            page_state.link("run", t("registry.to_run"), {"id": run}, ":material/route:")


def _overrides(shown: Mapping[str, Any]) -> None:
    for entry in shown["overrides"]:
        st.markdown(
            f":material/gavel: {t('registry.override', who=safe.plain(entry['who']), at=safe.plain(entry['at'][:16]))} "
            f"{safe.plain(entry['reason'], 600)}"
        )
    for entry in shown["pending"]:
        asked = t("registry.pending", who=safe.plain(entry["who"]), at=safe.plain(entry["at"][:16]))
        st.markdown(f":material/hourglass_top: {asked} {safe.plain(entry['reason'], 600)}")


def _table(found: list[Version]) -> None:
    rows = []
    for version in found:
        scored = versions.headline(version)
        rows.append(
            {
                "open": page_state.url("registry", model=version.name, version=version.version),
                "aliases": ", ".join(version.aliases),
                "gate": t(f"ui.verdict_{version.tags.get('lapidar.gate', 'unknown')}"),
                "score": f"{scored[0]} {numbers.interval(scored[1])}" if scored else "–",
                "created": datetime.fromtimestamp(version.created, UTC),
                "digest": version.digest[:12],
            }
        )
    columns: dict[str, Any] = {
        "open": st.column_config.LinkColumn(t("versions.version"), display_text=r"version=(\d+)", width="small"),
        "aliases": t("registry.aliases"),
        "gate": t("versions.gate"),
        "score": t("registry.score"),
        "created": st.column_config.DatetimeColumn(t("registry.created_at"), format="YYYY-MM-DD HH:mm"),
        "digest": t("registry.weights"),
    }
    st.dataframe(rows, hide_index=True, width="stretch", column_config=columns)
    export.download([{"name": version.name, **_saved(version)} for version in found], "versions")


def _saved(version: Version) -> dict[str, Any]:
    """A version as it stands in a file: values, not words."""
    metric, estimate = versions.headline(version) or ("", {})
    return {
        "version": version.version,
        "aliases": ", ".join(version.aliases),
        "gate": version.tags.get("lapidar.gate", "unknown"),
        "metric": metric,
        **{end: estimate.get(end) for end in ("value", "low", "high")},
        "created": datetime.fromtimestamp(version.created, UTC).isoformat(timespec="seconds"),
        "digest": version.digest,
    }


def _audit(name: str) -> None:
    """The log of one model, newest first, and whether the whole log is as it was written."""
    registry = versions.registry(ui.settings())
    if registry is None:
        return
    faults, entries = registry.audit_faults(), registry.audit(name)
    if faults:
        st.error(
            "  \n".join([t("registry.audit_broken"), *(safe.plain(fault, 400) for fault in faults)]), icon=":material/gpp_bad:"
        )
    else:
        st.success(t("registry.audit_whole"), icon=":material/verified_user:")
    rows = [
        {
            "#": entry["position"],
            t("registry.at"): entry["at"][:19].replace("T", " "),
            t("registry.action"): _action(entry["action"]),
            t("registry.moved"): _moved(entry),
            t("versions.gate"): t(f"ui.verdict_{entry['verdict']}") if entry["verdict"] else "–",
            t("registry.who"): entry["who"],
            t("registry.why"): entry["reason"],
        }
        for entry in reversed(entries)
    ]
    st.dataframe(rows, hide_index=True, width="stretch")
    export.download(entries, f"audit-{name}")


def _action(action: str) -> str:
    return (
        t(f"registry.action_{action}")
        if action in ("register", "promote", "override", "rollback", "approve", "evidence")
        else action
    )


def _moved(entry: Mapping[str, Any]) -> str:
    if not entry["alias"]:
        return str(entry["to_version"] or "–")
    return f"{entry['alias']} {entry['from_version'] or '–'} → {entry['to_version'] or '–'}"


def _address(shown: Mapping[str, Any]) -> dict[str, str]:
    return {"model": shown["name"], "version": shown["version"]}
