"""Home: what waits for the reader, what runs now, and the latest registered versions."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from components import orchestrator, run_files
from components.errors import LapidarError
from components.run_records import RunDetail
from components.versions import Version
from components.waiting import Waiting, waiting
from dashboards import access, navigation
from dashboards.ui import numbers, page_state, reading, run_parts, safe, settings, states
from dashboards.ui.text import t

_LIVE_SECONDS = 3
_SHOWN = 6
_ICONS = {
    "approval": ":material/how_to_reg:",
    "paused": ":material/pause_circle:",
    "failed": ":material/error:",
    "unknown": ":material/help:",
}


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_home"), anchor=False)
    try:
        versions, runs = reading.versions(), reading.runs()
    except LapidarError as error:
        versions, runs = [], reading.runs()
        states.broken(t("home.no_mlflow"), str(error), t("home.no_mlflow_todo"), "lapidar up")
    if not versions and not runs.rows:
        _welcome()
        return
    st.subheader(t("home.waiting"), anchor=False)
    _waits()
    st.subheader(t("home.running"), anchor=False)
    _running()
    st.subheader(t("home.versions"), anchor=False)
    _latest()


def _welcome() -> None:
    states.empty(t("home.welcome"), t("home.welcome_todo"), "lapidar run quickstart", icon=":material/diamond:")


def _where(each: Waiting) -> tuple[str, dict[str, str], str]:
    """The page that shows it, that page's state, and what it is called."""
    if each.kind == "failed":
        return "run", {"id": each.subject, "part": "log"}, each.subject
    if each.kind == "paused":
        return "flows", {"run": each.subject}, each.name
    return "registry", page_state.version(each.subject), each.subject.removeprefix("models:/")


def _resume(each: Waiting) -> None:
    """Lets a held flow run go on."""
    access.require("engineer")
    try:
        orchestrator.connect(settings()).resume(each.subject)
    except LapidarError as error:
        st.toast(safe.plain(error), icon=":material/error:")


@access.live(reading.SECONDS)
def _waits() -> None:
    with states.guarded():
        versions, runs = reading.news()
        _waiting(waiting(settings(), versions or [], runs.rows))


def _waiting(found: list[Waiting]) -> None:
    if not found:
        st.markdown(f":material/check_circle: {t('home.nothing_waits')}")
        return
    for each in found[:_SHOWN]:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            page, state, subject = _where(each)
            page_state.link(page, f"{t(f'home.kind_{each.kind}')}: {safe.plain(subject)}", state, icon=_ICONS[each.kind])
            if each.text:
                st.caption(safe.plain(each.text))
            st.caption(numbers.ago(datetime.fromtimestamp(each.since, UTC)))
            if each.kind == "paused" and navigation.page("flows") is not None:
                st.button(
                    t("home.resume"), key=f"resume-{each.subject}", icon=":material/play_arrow:", on_click=_resume, args=(each,)
                )
    if len(found) > _SHOWN:
        st.caption(t("home.more", n=len(found) - _SHOWN))


@access.live(_LIVE_SECONDS)
def _running() -> None:
    """Runs of this machine that are at work, with the step that their stage is at."""
    found = [run for name in run_files.living(settings()) if (run := run_files.read(settings(), name)) is not None]
    if not found:
        st.caption(t("home.nothing_runs"))
    for run in found:
        _run(run)


def _run(run: RunDetail) -> None:
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center"):
            page_state.link("run", safe.plain(run.row.id), {"id": run.row.id}, icon=":material/route:")
            done = [stage for stage in run.stages if stage.status != "running"]
            st.caption(t("home.stages_done", n=len(done), began=numbers.ago(run.row.began)))
        for stage in run.stages:
            if stage.status == "running":
                run_parts.running(stage)


@access.live(reading.SECONDS)
def _latest() -> None:
    with states.guarded():
        versions, _ = reading.news()
        if versions is None:
            st.caption(t("home.no_mlflow"))
        else:
            _versions(versions)


def _versions(versions: list[Version]) -> None:
    if not versions:
        states.empty(t("home.no_versions"), t("home.no_versions_todo"), icon=":material/workspace_premium:")
        return
    with st.container(horizontal=True, gap="small"):
        for version in versions[:_SHOWN]:
            with st.container(border=True, width=270, gap="xxsmall"):
                label = f"**{safe.plain(version.name)}** {safe.plain(version.version)}"
                page_state.link("registry", label, page_state.version(version.uri), icon=":material/workspace_premium:")
                aliases = " ".join(f":violet-badge[{safe.plain(alias)}]" for alias in version.aliases)
                st.markdown(f"{t('ui.gate')} {numbers.verdict(version.tags.get('lapidar.gate', 'unknown'))} {aliases}")
                st.caption(f"{numbers.ago(datetime.fromtimestamp(version.created, UTC))} · `{version.digest[:12]}`")
                page_state.link("chat", t("home.chat"), {"model": f"{version.name}/{version.version}"}, icon=":material/chat:")
