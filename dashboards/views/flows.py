"""What runs, waits and is scheduled: Prefect's flow runs, queues and slots; start, hold, resume, cancel; logs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from components import orchestrator
from components.errors import LapidarError
from components.orchestrator import Orchestrator, OrchestratorDown
from dashboards import access, ui
from dashboards.parts import paging, start
from dashboards.ui import numbers, page_state, safe, states
from dashboards.ui.text import t

SECTIONS = ("runs", "schedules", "slots")
FILTERS = ("active", "waiting", "failed", "all")
_PAGE, _LINES = 15, 100
_COLOURS = {"COMPLETED": "green", "FAILED": "red", "CRASHED": "red", "RUNNING": "blue", "PAUSED": "orange"}


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_flows"))
    try:
        prefect = orchestrator.connect(ui.settings())
        if run := page_state.get("run"):
            _run(prefect, run)
            return
        section = st.segmented_control(
            t("flows.section"),
            SECTIONS,
            default=page_state.get("section", "runs", SECTIONS),
            format_func=lambda name: t(f"flows.section_{name}"),
            label_visibility="collapsed",
            required=True,
            key="flows-section",
        )
        page_state.put(section=None if section == "runs" else section)
        {"runs": _runs, "schedules": _schedules, "slots": _slots}[str(section)](prefect)
    except OrchestratorDown as error:
        states.broken(t("flows.down"), str(error), t("flows.down_todo"), "lapidar up")


def _runs(prefect: Orchestrator) -> None:
    wanted: Any = st.segmented_control(
        t("flows.show"),
        FILTERS,
        default=page_state.get("show", "all", FILTERS),
        format_func=lambda name: t(f"flows.at_{name}"),
        required=True,
        key="flows-show",
    )
    page_state.put(show=None if wanted == "all" else wanted)
    total = prefect.count(wanted)
    if not total:
        states.empty(
            t("flows.no_runs"), t("flows.no_runs_todo"), 'lapidar deploy quickstart --cron "0 3 * * *"', ":material/schedule:"
        )
        return
    number = paging.turn(-(-total // _PAGE), total)
    for run in prefect.runs(wanted, (number - 1) * _PAGE, _PAGE):
        with st.container(border=True, horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(f"{badge(run)} **{safe.plain(run['name'])}**  \n{_when(run)}")
            page_state.link("flows", t("flows.open"), {"run": run["id"]}, ":material/chevron_right:")


def _run(prefect: Orchestrator, identity: str) -> None:
    """One run: its steps, what may be done with it, its log a page at a time."""
    page_state.link("flows", t("flows.back"), icon=":material/arrow_back:")
    run = prefect.run(identity)
    st.markdown(f"### {safe.plain(run['name'])}  \n{badge(run)} · {_when(run)}")
    if message := (run.get("state") or {}).get("message"):
        safe.text(message)
    _actions(prefect, run)
    steps = prefect.steps(identity)
    if steps:
        done = sum(step["state_type"] == "COMPLETED" for step in steps)
        st.progress(done / len(steps), t("flows.progress", done=done, all=len(steps)))
        rows = [
            {
                t("flows.step"): s["name"],
                t("flows.state"): _named(s["state_name"]),
                t("flows.took"): numbers.duration(s["total_run_time"]),
            }
            for s in steps
        ]
        st.dataframe(rows, hide_index=True, width="stretch")
    st.markdown(f"##### {t('flows.log')}")
    first = page_state.get_int("line", 0, 0)
    lines = prefect.logs(identity, first, _LINES + 1)
    if not lines:
        st.caption(t("flows.no_log"))
        return
    safe.code("\n".join(f"{line['timestamp'][:19]} {line['message']}" for line in lines[:_LINES]), height=360)
    with st.container(horizontal=True):
        if first:
            page_state.link("flows", t("flows.earlier"), {"run": identity, "line": max(0, first - _LINES)})
        if len(lines) > _LINES:
            page_state.link("flows", t("flows.later"), {"run": identity, "line": first + _LINES})


def _actions(prefect: Orchestrator, run: Mapping[str, Any]) -> None:
    kind = run["state"]["type"]
    if kind in orchestrator.ENDED:
        return
    with st.container(horizontal=True):
        if kind == "PAUSED" and st.button(t("flows.resume"), icon=":material/play_arrow:", type="primary"):
            _do(lambda: prefect.resume(run["id"]))
        if kind == "RUNNING" and st.button(t("flows.hold"), icon=":material/pause:", help=t("flows.hold_help")):
            _do(lambda: prefect.suspend(run["id"]))
        if kind != "CANCELLING" and st.button(t("flows.cancel"), icon=":material/cancel:"):
            _do(lambda: prefect.cancel(run))


def _schedules(prefect: Orchestrator) -> None:
    found = prefect.deployments()
    if not found:
        states.empty(t("flows.no_schedules"), t("flows.no_runs_todo"), 'lapidar deploy quickstart --cron "0 3 * * *"')
        return
    for each in found:
        with st.container(border=True):
            state = f":orange-badge[{t('flows.paused')}]" if each["paused"] else f":green-badge[{t('flows.on')}]"
            when = "; ".join(orchestrator.schedules(each)) or t("flows.no_times")
            st.markdown(f"{state} **{safe.plain(each['name'])}** · {safe.plain(when)}")
            word = t("flows.resume_schedule") if each["paused"] else t("flows.pause_schedule")
            icon = "play_arrow" if each["paused"] else "pause"
            if st.button(word, icon=f":material/{icon}:", key=f"pause-{each['id']}"):
                _do(lambda each=each: prefect.pause_schedule(each["id"], not each["paused"]))
            with st.expander(t("flows.start"), icon=":material/tune:"):
                start.draw(prefect, each)


def _slots(prefect: Orchestrator) -> None:
    """Queues with their limits and who works on them; GPU slots are global concurrency limits."""
    for pool in prefect.pools():
        st.markdown(f"##### {safe.plain(pool['name'])} · {safe.plain(pool['type'])} · {safe.plain(_named(pool.get('status')))}")
        rows = [
            {t("flows.queue"): q["name"], t("flows.limit"): _limit(q), t("flows.priority"): q["priority"]} for q in pool["queues"]
        ]
        st.dataframe(rows, hide_index=True, width="stretch")
        workers = ", ".join(f"{worker['name']} ({_named(worker['status'])})" for worker in pool["workers"])
        st.caption(t("flows.workers", names=safe.plain(workers or "–")))
    st.caption(t("flows.queued", n=prefect.count("waiting"), running=prefect.count("active")))
    limits = prefect.slots()
    st.markdown(f"##### {t('flows.section_slots')}")
    for each in limits:
        st.progress(
            min(1.0, each["active_slots"] / max(1, each["limit"])),
            f"{safe.plain(each['name'])}: {each['active_slots']} / {each['limit']}",
        )
    if not limits:
        st.caption(t("flows.no_slots"))


def badge(run: Mapping[str, Any]) -> str:
    """A run's state as a Markdown badge."""
    state = run.get("state") or {}
    return f":{_COLOURS.get(state.get('type', ''), 'gray')}-badge[{safe.plain(_named(state.get('name')))}]"


def _named(state: str | None) -> str:
    """The reader's word for a state of Prefect's; a name that the catalogue hasn't stands as Prefect says it."""
    name = (state or "none").replace(" ", "").replace("_", "").lower()
    word = t(f"flows.state_{name}")
    return str(state) if word == f"flows.state_{name}" else word


def _when(run: Mapping[str, Any]) -> str:
    """How long ago it began, else when it is due; and how long it has taken."""
    began, due = run.get("start_time"), str(run.get("expected_start_time") or "–")
    at = numbers.ago(datetime.fromisoformat(str(began))) if began else due[:16].replace("T", " ")
    return f"{at} · {numbers.duration(run.get('total_run_time'))}"


def _limit(queue: Mapping[str, Any]) -> str:
    return "∞" if queue.get("concurrency_limit") is None else str(queue["concurrency_limit"])


def _do(action: Any) -> None:
    access.require("engineer")
    try:
        action()
    except OrchestratorDown:
        raise
    except LapidarError as error:
        st.error(safe.plain(error, 600))
        return
    st.rerun()
