"""Parts of the page of a run: its stages on a timeline, answers, first batch, verdict, recipe, files, log."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st
import yaml

from components import examples, run_files
from components.comparison import read_items
from components.run_records import Record, RunDetail
from dashboards.ui import charts, export, numbers, page_state, reading, safe, sentences, settings, states
from dashboards.ui.text import t

_KINDS: tuple[examples.Kind, ...] = ("worst", "best", "random")
_EACH = 3


def stages(found: RunDetail) -> None:
    """Stages as bars over time, and how far those are that run."""
    if not found.stages:
        st.caption(t("run.starting"))
        return
    start = found.whole.began or min(stage.began or 0 for stage in found.stages)
    now = time.time() * 1000
    rows = [_bar(stage, start, now) for stage in found.stages]
    chart = charts.timeline(rows, "from", "to", "stage", "status", (t("run.since"), t("run.took")))
    charts.draw(chart, 110 + 24 * len(rows), key="timeline", alt_text=t("run.stages"))
    for stage in found.stages:
        if stage.status == "running":
            running(stage)


def _bar(stage: Record, start: int, now: float) -> dict[str, Any]:
    began = max(0.0, ((stage.began or start) - start) / 1000)
    passed = max(0.0, (now - (stage.began or start)) / 1000)
    took = (stage.seconds or 0.0) if stage.status != "running" else passed
    method = stage.tags.get("stage.method", stage.params.get("method", ""))
    status = stage.status
    return {
        "stage": stage.stage,
        "method": method,
        "from": began,
        "to": began + took,
        "took": numbers.duration(took),
        "status": status,
    }


def running(stage: Record) -> None:
    """How far a stage is that runs."""
    done = run_files.progress(run_files.stage_events(settings(), stage.key))
    if done is None:
        st.caption(t("run.at_work", stage=safe.plain(stage.stage)))
    else:
        st.progress(min(1.0, done[0] / done[1]), t("run.steps", stage=safe.plain(stage.stage), done=done[0], total=done[1]))


def answers(found: RunDetail) -> None:
    """The best, the worst and some other answers of an evaluated stage, with their scores."""
    evaluated = {s.stage.removeprefix("evaluate."): s for s in found.stages if s.stage.startswith("evaluate.")}
    folders = {name: folder for name, stage in evaluated.items() if (folder := run_files.output(settings(), stage.key)) is not None}
    if not folders:
        states.empty(
            t("run.no_answers"), t("run.no_answers_elsewhere") if evaluated else t("run.no_answers_todo"), icon=":material/quiz:"
        )
        return
    names = list(folders)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        stage = st.selectbox(t("run.stage"), names, index=len(names) - 1, key="stage", bind="query-params", width=180)
        items = read_items(folders[stage or names[-1]])
        known = examples.benchmarks(items)
        benchmark = st.selectbox(t("run.benchmark"), list(known), key="benchmark", width=220)
        metric = st.selectbox(t("run.metric"), known.get(benchmark or "", []), key="metric", width=180)
        kind = page_state.choose(t("run.which"), _KINDS, "which", "worst", lambda each: t(f"run.which_{each}"))
        seed = page_state.get_int("seed", 0, low=0)
        if st.button(t("run.others"), icon=":material/shuffle:"):
            page_state.put(seed=seed + 1)
            st.rerun()
    if benchmark is None or metric is None:
        st.caption(t("run.no_items"))
        return
    for item in examples.choose(items, benchmark, metric, kind, _EACH, seed):
        _answer(item)


def _answer(item: dict[str, Any]) -> None:
    with st.container(border=True, gap="xsmall"):
        scores = " ".join(f":gray-badge[{safe.plain(name)} {numbers.number(value)}]" for name, value in item["scores"].items())
        flags = [t("run.truncated")] if item.get("truncated") else []
        flags += [t("run.unparsed")] if item.get("parsed") is False else []
        st.markdown(" ".join([scores, *(f":orange-badge[:material/warning: {flag}]" for flag in flags)]))
        asked, said = st.columns(2)
        with asked, st.container(gap="xsmall"):
            st.caption(t("run.prompt"))
            safe.text(str(item.get("prompt", "")))
            if item.get("target") is not None:
                st.caption(t("run.expected"))
                safe.text(str(item["target"]))
        with said, st.container(gap="xsmall"):
            st.caption(t("run.answer"))
            safe.text(str(item.get("response", "")))


def batch(found: RunDetail) -> None:
    """The first rows that were trained on, as the model saw them."""
    shown = False
    for stage in found.stages:
        texts = [e for e in run_files.stage_events(settings(), stage.key) if e["kind"] == "text" and "⟦" in e["message"]]
        if not texts:
            continue
        shown = True
        st.markdown(f"**{safe.plain(stage.stage)}** · {t('run.marked')}")
        for event in texts:
            with st.container(border=True):
                safe.marked(str(event["message"]))
    if not shown:
        states.empty(t("run.no_batch"), t("run.no_batch_todo"), icon=":material/data_object:")


def gate(found: RunDetail) -> None:
    """The verdict with a reason beside every check."""
    report = reading.history().report(found.row.id)
    verdict = (report or {}).get("gate")
    if not verdict:
        states.empty(t("run.no_gate"), t("run.no_gate_todo"), icon=":material/gavel:")
        return
    st.markdown(f"{t('ui.gate')} {numbers.verdict(str(verdict['verdict']))}")
    for reason in verdict["reasons"]:
        with st.container(horizontal=True, vertical_alignment="center", wrap=False):
            st.markdown(numbers.verdict(str(reason["verdict"])), width="content")
            name = numbers.check(reason["check"]) or reason["check"]
            st.markdown(f"**{safe.plain(name)}** {safe.plain(sentences.reason(reason), 600)}")


def recipe(found: RunDetail) -> None:
    """The resolved recipe: as the file that it would be, and what the stages were given."""
    known = run_files.recipe(settings(), found.row.id)
    if known is not None:
        text = yaml.safe_dump(known, sort_keys=False, allow_unicode=True)
        safe.code(text, "yaml", height=480)
        st.download_button(
            t("run.save_recipe"), text, f"{found.row.id}.yaml", "application/yaml", on_click="ignore", icon=":material/download:"
        )
        return
    st.dataframe(
        [{"setting": name, "value": safe.visible(value)} for name, value in sorted(found.whole.params.items())], hide_index=True
    )


def files(found: RunDetail) -> None:
    """Sealed outputs on this machine, and what MLflow keeps."""
    listed = [
        (stage.stage, file.relative_to(folder).as_posix(), file.stat().st_size, str(folder))
        for stage in found.stages
        if (folder := run_files.output(settings(), stage.key)) is not None
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]
    if listed:
        words = (t("run.stage"), t("run.file"), t("run.size"), t("run.folder"))
        rows = [dict(zip(words, (stage, file, numbers.size(size), folder), strict=True)) for stage, file, size, folder in listed]
        st.dataframe(rows, hide_index=True)
        saved = [{"stage": stage, "file": file, "bytes": size, "folder": folder} for stage, file, size, folder in listed]
        export.download(saved, f"files-{found.row.id}")
    else:
        st.caption(t("run.no_files"))
    with states.guarded(t("run.no_mlflow")):
        if kept := reading.history().artifacts(found.row.id):
            st.caption(t("run.in_mlflow", files=", ".join(safe.plain(f"{path} ({numbers.size(size)})") for path, size in kept)))


def log(found: RunDetail) -> None:
    """The run's log, and that of a stage that runs or failed."""
    for stage in found.stages:
        if stage.status in ("running", "failed", "killed") and (text := run_files.stage_log(settings(), stage.key)):
            st.caption(safe.plain(stage.stage))
            safe.code(_settled(text), height=320)
    text = run_files.log(settings(), found.row.id)
    report = run_files.report(settings(), found.row.id) or {}
    if error := report.get("error"):
        states.broken(
            t("run.failed_with", kind=safe.plain(error.get("type", ""))),
            str(error.get("message", "")),
            t("run.failed_todo"),
            _again(report),
        )
    if text:
        safe.code(_settled(text), height=420)
    elif not error:
        states.empty(t("run.no_log"), t("run.no_log_todo"), icon=":material/article:")


def _settled(text: str) -> str:
    """A log as a terminal shows it in the end: what a progress bar wrote over is gone."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _again(report: dict[str, Any]) -> str:
    """What to type: finished stages are kept."""
    return f"lapidar run {report.get('recipe', 'RECIPE')}"
