"""Run: what it did, stage by stage, live while it goes on; what it was trained on, what it answers, why it may be promoted."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from components import local_services, run_files
from components.errors import LapidarError
from components.run_comparison import curves_in_common, telling
from components.run_records import RunDetail
from dashboards import access
from dashboards.ui import curves, numbers, page_state, reading, run_parts, safe, settings, states
from dashboards.ui.text import t

_LIVE_SECONDS = 2
_SCORES = 4
_CURVES = 6
_PARTS: dict[str, Callable[[RunDetail], None]] = {
    "answers": run_parts.answers,
    "batch": run_parts.batch,
    "gate": run_parts.gate,
    "recipe": run_parts.recipe,
    "files": run_parts.files,
    "log": run_parts.log,
}


def page() -> None:
    """Draws the page."""
    run = page_state.get("id")
    if not run:
        st.title(t("ui.page_run"))
        _choose()
        return
    try:
        found = reading.details([run])[0]
    except LapidarError as error:
        st.title(t("ui.page_run"))
        states.broken(t("run.unreadable"), str(error), t("run.unreadable_todo"))
        return
    _head(found)
    if found.row.status == "running":
        access.live(_LIVE_SECONDS, "engineer")(_live)(run)
    else:
        _progress(found)
    _parts(found)


def _choose() -> None:
    """No run in the address: one of the latest."""
    rows = reading.runs().rows
    if not rows:
        states.empty(t("run.none"), t("run.none_todo"), "lapidar run quickstart", icon=":material/route:")
        return
    st.markdown(t("run.choose"))
    for row in rows[:10]:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            page_state.link("run", safe.plain(row.id), {"id": row.id}, icon=":material/route:")
            st.markdown(numbers.status(row.status))
            st.caption(f"{numbers.ago(row.began)} · {numbers.duration(row.seconds)}")


def _head(found: RunDetail) -> None:
    row = found.row
    st.title(safe.plain(row.name), anchor=False)
    gate = f"{t('ui.gate')} {numbers.verdict(row.gate)}" if row.gate else ""
    began = f"{row.began:%Y-%m-%d %H:%M} UTC" if row.began else "–"
    st.markdown(f"{numbers.status(row.status)} {gate} `{row.id}` · {began} · {numbers.duration(row.seconds)}")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        page_state.link("compare", t("run.compare"), {"runs": [row.id]}, icon=":material/stacked_line_chart:")
        if row.version:
            page_state.link(
                "registry", safe.plain(_version(row.version)), page_state.version(row.version), icon=":material/workspace_premium:"
            )
        _outside(found)
    if shown := [(name, parts) for name, parts in row.scores.items() if "@" not in name][:_SCORES]:
        with st.container(horizontal=True):
            for name, parts in shown:
                interval = numbers.between(parts["low"], parts["high"], ".3f") if "high" in parts else None
                st.metric(
                    safe.plain(name),
                    numbers.figure(parts["value"], ".3f"),
                    interval,
                    delta_color="off",
                    delta_arrow="off",
                    border=True,
                    width=230,
                )


def _version(uri: str) -> str:
    """``models:/name/3`` as people say it."""
    return uri.removeprefix("models:/").replace("/", " ")


def _outside(found: RunDetail) -> None:
    """Links to MLflow's and Prefect's pages of the run, where these services run."""
    history = reading.history()
    if history.address is not None:
        with states.guarded(t("run.no_mlflow")):
            if (link := history.link(found.row.id)) is not None:
                st.link_button("MLflow", link, icon=":material/open_in_new:", type="tertiary")
    flow, prefect = found.whole.tags.get("prefect.run"), local_services.address(settings(), "prefect")
    if prefect is not None and flow:
        st.link_button("Prefect", f"{prefect}/runs/flow-run/{flow}", icon=":material/open_in_new:", type="tertiary")
    if history.address is None and prefect is None:
        st.caption(t("run.services_down"))


def _live(run: str) -> None:
    """The moving part, every two seconds; the whole page once the run has ended."""
    found = run_files.read(settings(), run) or reading.details([run])[0]
    if found.row.status != "running":
        st.cache_data.clear()
        st.rerun()
    _progress(found)


def _progress(found: RunDetail) -> None:
    st.subheader(t("run.stages"), anchor="stages")
    run_parts.stages(found)
    pairs = curves_in_common([found])
    if not pairs:
        return
    st.subheader(t("run.curves"), anchor="curves")
    options = [f"{stage} · {metric}" for stage, metric in pairs]
    chosen = st.multiselect(
        t("run.metrics"),
        options,
        default=[f"{stage} · {metric}" for stage, metric in telling(pairs)[:_CURVES]],
        key="metrics",
        bind="query-params",
        label_visibility="collapsed",
    )
    wanted = [(stage, metric) for stage, _, metric in (each.partition(" · ") for each in chosen)]
    own = run_files.curves(settings(), found.row.id, wanted) if run_files.known(settings(), found.row.id) else None
    curves.draw(own if own is not None else reading.curves([found], wanted), {found.row.id: found.row.id.rpartition("-")[2]}, "run")


def _parts(found: RunDetail) -> None:
    st.space("small")
    part = page_state.choose(t("run.part"), list(_PARTS), "part", "answers", lambda name: t(f"run.part_{name}"), hidden=True)
    with states.guarded():
        _PARTS[part](found)
