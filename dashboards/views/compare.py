"""Compare: up to six runs side by side: scores with significance, curves, and what differs in settings, data, packages, cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from components.comparison import Comparison
from components.errors import LapidarError
from components.run_comparison import (
    MOST_RUNS,
    Difference,
    Scored,
    costs,
    curves_in_common,
    data_differ,
    locks_differ,
    origins,
    packages_differ,
    scored,
    settings_differ,
    stages_in_common,
    telling,
)
from components.run_records import RunDetail
from dashboards.parts import changes
from dashboards.ui import charts, curves, export, figures, numbers, page_state, reading, safe, sentences, settings, states
from dashboards.ui.text import t

_CURVES = 4
_PROJECT = Path(__file__).parents[2]
_LETTERS = "ABCDEF"
_CALLS = {"better": ":green-badge[▲ {}]", "worse": ":red-badge[▼ {}]", "no difference shown": ":gray-badge[≈ {}]"}


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_compare"))
    ids, place = page_state.get_list("runs")[:MOST_RUNS], st.empty()
    with place:
        _choose(ids, [])
    _compare(ids)
    with states.guarded():  # last, since nobody came for the latest runs, which can be added
        if latest := [row.id for row in reading.runs().rows]:
            with place:
                _choose(ids, latest)


def _compare(ids: list[str]) -> None:
    if len(ids) < 2:
        states.empty(t("compare.none"), t("compare.none_todo", most=MOST_RUNS), icon=":material/stacked_line_chart:")
        return
    try:
        runs = reading.details(ids)
    except LapidarError as error:
        states.broken(t("compare.unreadable"), str(error), t("compare.unreadable_todo"))
        return
    names = {run.row.id: f"{letter} {run.row.id.rpartition('-')[2]}" for letter, run in zip(_LETTERS, runs, strict=False)}
    _heads(runs, names)
    for title, draw in (("scores", _scores), ("curves", _curves), ("recipe", _recipe), ("origin", _origin), ("cost", _cost)):
        st.subheader(t(f"compare.part_{title}"), anchor=title)
        with states.guarded():
            draw(runs, names)


def _choose(ids: list[str], latest: list[str]) -> None:
    """The runs of the address; others can be added from the latest ones, once they are known."""
    key = f"chosen-{','.join(ids)}" if latest else "chosen-not-yet"
    st.multiselect(
        t("compare.runs"),
        list(dict.fromkeys([*ids, *latest])),
        default=ids,
        max_selections=MOST_RUNS,
        key=key,
        placeholder=t("compare.choose"),
        on_change=_take,
        args=(key,),
        disabled=not latest,
    )


def _take(key: str) -> None:
    page_state.put(runs=st.session_state[key])


def _heads(runs: Sequence[RunDetail], names: Mapping[str, str]) -> None:
    """A card a run: its letter and colour in all charts, what became of it."""
    with st.container(horizontal=True, gap="small"):
        for number, run in enumerate(runs):
            with st.container(border=True, width=250, gap="xxsmall"):
                page_state.link(
                    "run", f"{names[run.row.id]} · {safe.plain(run.row.name)}", {"id": run.row.id}, icon=":material/route:"
                )
                gate = f"{t('ui.gate')} {numbers.verdict(run.row.gate)}" if run.row.gate else ""
                st.markdown(f"{numbers.status(run.row.status)} {gate}")
                began = f"{run.row.began:%Y-%m-%d %H:%M}" if run.row.began else "–"
                reference = f" · {t('compare.reference')}" if number == 0 else ""
                st.caption(f"{began} · {numbers.duration(run.row.seconds)}{reference}")


def _scores(runs: Sequence[RunDetail], names: Mapping[str, str]) -> None:
    stages = stages_in_common(runs)
    if not stages:
        states.empty(t("compare.no_scores"), t("compare.no_scores_todo"), icon=":material/fact_check:")
        return
    stage = st.segmented_control(
        t("compare.stage"),
        stages,
        default=stages[-1],
        key="stage",
        bind="query-params",
        required=True,
        help=t("compare.stage_help"),
    )
    stage, groups = (
        stage or stages[-1],
        st.toggle(t("compare.groups"), key="groups", bind="query-params", help=t("compare.groups_help")),
    )
    scores = {run.row.id: {name: s for name, s in run.scores[stage].items() if groups or "@" not in name} for run in runs}
    rows = [
        {"metric": metric, "run": names[run], **{end: parts[end] for end in ("value", "low", "high")}}
        for run, found in scores.items()
        for metric, parts in found.items()
    ]
    metrics = list(dict.fromkeys(metric for found in scores.values() for metric in found))
    figures.intervals(
        rows,
        "metric",
        "run",
        list(names.values()),
        t("compare.score"),
        height=90 + (20 + 14 * len(runs)) * len(metrics),
        key="scores",
        alt=t("compare.part_scores"),
    )
    _significance(scored(runs, stage, settings()), names, runs[0])
    table = [
        {"metric": metric, **{names[run]: numbers.interval(found.get(metric)) for run, found in scores.items()}}
        for metric in metrics
    ]
    with st.expander(t("compare.as_table"), icon=":material/table:"):
        st.dataframe(table, hide_index=True)
        export.download(rows, "scores")


def _significance(found: Sequence[Scored], names: Mapping[str, str], first: RunDetail) -> None:
    """What may be said of each run against the first one."""
    for each in found:
        with st.container(border=True, gap="xsmall"):
            st.markdown(t("compare.against", run=names[each.run], first=names[first.row.id]))
            if each.why_not:
                safe.text(each.why_not)
            for comparison in each.comparisons:
                _call(comparison)
            for run, only in ((each.run, each.left_out.first), (first.row.id, each.left_out.second)):
                if only:
                    st.caption(t("compare.only", run=names[run], what=safe.plain(", ".join(only), 2000)))


def _call(found: Comparison) -> None:
    said = found.to_dict()
    st.markdown(f"{_CALLS[found.call].format(sentences.call(said))} **{safe.plain(f'{found.benchmark} {found.metric}')}**")
    st.caption(safe.plain(sentences.difference(said), 500))


@st.fragment
def _curves(runs: Sequence[RunDetail], names: Mapping[str, str]) -> None:
    pairs = curves_in_common(runs)
    options = [f"{stage} · {metric}" for stage, metric in pairs]
    if not options:
        states.empty(t("compare.no_curves"), t("compare.no_curves_todo"), icon=":material/show_chart:")
        return
    chosen = st.multiselect(
        t("compare.metrics"),
        options,
        default=[f"{stage} · {metric}" for stage, metric in telling(pairs)[:_CURVES]],
        key="metrics",
        bind="query-params",
        placeholder=t("compare.choose"),
    )
    wanted = [(stage, metric) for stage, _, metric in (each.partition(" · ") for each in chosen)]
    curves.draw(reading.curves(runs, wanted), names, "compare")


def _recipe(runs: Sequence[RunDetail], names: Mapping[str, str]) -> None:
    _differences(settings_differ(runs), names, t("compare.setting"), t("compare.same_recipe"), "recipe-diff")


def _origin(runs: Sequence[RunDetail], names: Mapping[str, str]) -> None:
    found = origins(runs)
    differing = [each for each in found if len(set(each.values)) > 1]
    same = [each for each in found if len(set(each.values)) == 1]
    _differences(differing, names, t("compare.what"), t("compare.same_origin"), "origin-diff", lambda name: t(f"compare.of_{name}"))
    if same:
        said = ", ".join(f"{t(f'compare.of_{each.name}')} `{_said(each.values[0])}`" for each in same)
        st.caption(t("compare.same", what=said))
    _data(runs, names)
    _packages(runs, names)


@st.fragment
def _data(runs: Sequence[RunDetail], names: Mapping[str, str]) -> None:
    """The rows that another run's data has and the first one's hasn't; looked for when asked, for that reads all of both."""
    found = {run: (ours, theirs) for run, ours, theirs in data_differ(runs)}
    if not found or not st.toggle(t("compare.rows"), key="rows", bind="query-params", help=t("compare.rows_help")):
        return
    with states.guarded(t("compare.no_rows")):
        run = next(iter(found))
        if len(found) > 1:
            run = page_state.choose(t("compare.rows_of"), list(found), "rows_of", run, lambda each: names[each])
        changes.draw(*found[run], found[run], "rows")


def _packages(runs: Sequence[RunDetail], names: Mapping[str, str]) -> None:
    """What the locks pin differently, and what the stages really ran with."""
    st.markdown(f"**{t('compare.locks')}**")
    pinned, unknown = _locks(tuple(run.row.id for run in runs), runs)
    if pinned or not unknown:
        _differences(pinned, names, t("compare.package"), t("compare.same_lock"), "lock-diff")
    if unknown:
        st.caption(t("compare.lock_unknown", runs=", ".join(names[run] for run in unknown)))
    st.markdown(f"**{t('compare.ran_with')}**")
    _differences(packages_differ(runs, settings()), names, t("compare.package"), t("compare.same_packages"), "package-diff")


@st.cache_data(ttl=300, max_entries=50, show_spinner=False)
def _locks(ids: tuple[str, ...], _runs: Sequence[RunDetail]) -> tuple[list[Difference], list[str]]:
    """Kept, since a lock that nobody has is looked for in the whole history."""
    return locks_differ(_runs, _PROJECT)


def _cost(runs: Sequence[RunDetail], names: Mapping[str, str]) -> None:
    found = costs(runs)
    longest = sorted(found, key=lambda each: -len(each["stages"]))
    stages = list(dict.fromkeys(stage for each in longest for stage in each["stages"]))
    rows = [{"stage": s, "run": names[e["run"]], "seconds": e["stages"][s]} for s in stages for e in found if s in e["stages"]]
    if rows:
        chart = charts.grouped(rows, "seconds", "stage", "run", list(names.values()), t("compare.seconds"))
        charts.draw(chart, 100 + (10 + 8 * len(runs)) * len(stages), key="cost", alt_text=t("compare.part_cost"))
    table = [
        {
            t("compare.run"): names[each["run"]],
            t("compare.total"): numbers.duration(each["seconds"]),
            t("compare.memory"): numbers.size(each["peak_rss_mb"] * 1e6 if each["peak_rss_mb"] else None),
            t("compare.tokens"): numbers.number(each["tokens"]),
            t("compare.size"): numbers.size(each["bytes"]),
        }
        for each in found
    ]
    st.dataframe(table, hide_index=True)
    st.caption(t("compare.cached"))


def _differences(
    found: Sequence[Difference],
    names: Mapping[str, str],
    head: str,
    none: str,
    name: str,
    labels: Callable[[str], str] = safe.visible,
) -> None:
    """A table of what differs only."""
    if not found:
        st.markdown(f":material/check: {none}")
        return
    table: list[dict[str, Any]] = [
        {head: labels(each.name), **dict(zip(names.values(), (_said(value) for value in each.values), strict=True))}
        for each in found
    ]
    st.dataframe(table, hide_index=True, key=name)


def _said(value: str) -> str:
    """Digests by their first characters, yes and no in words."""
    if value.lower() in ("true", "false"):
        return t(f"compare.{value.lower()}")
    text = safe.visible(value)
    return text[:12] if len(text) >= 32 and text.removesuffix(".dir").isalnum() else text
