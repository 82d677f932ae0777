"""Layers on a page: what a search of bits and ranks found and chose, and how much each layer minds being quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import front
from dashboards import ui
from dashboards.parts import documents, versions
from dashboards.ui import charts, export, numbers, states, tables
from dashboards.ui.text import t

if TYPE_CHECKING:
    from components.versions import Version

STEPS = ("sensitivity", "genetic", "bayesian")
_TEXTS = 16
"""Texts on which sensitivity is measured for a version."""
_SECONDS = 20.0
"""Everybody's answers wait while the model server measures."""


def searched(version: Version, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """The search behind a version; a page that says what is the matter where there was one and it can't be read."""
    found: dict[str, Any] | None = None
    with states.guarded():
        found = front.of_version(versions.shown(version.uri)["evidence"], ui.settings())
        if found is None and recipe.get("search"):
            states.empty(t("layers.elsewhere"), t("layers.elsewhere_todo"), icon=":material/travel_explore:")
    return found


def selected(ranks: Sequence[int]) -> tuple[str, str]:
    """(layers that got an adapter, their ranks), in words."""
    kept = {str(i): str(rank) for i, rank in enumerate(ranks) if rank}
    return ", ".join(kept), ", ".join(dict.fromkeys(kept.values()))


def draw(found: Mapping[str, Any], name: str) -> None:
    """The verdict, the front of the three steps, the chosen configuration, the sensitivity it began with.

    Args:
        name: of saved files.
    """
    st.subheader(t("layers.title"))
    _verdict(found)
    left, right = st.columns(2)
    with left:
        st.markdown(f"**{t('layers.front')}**")
        _front(found)
    with right:
        st.markdown(f"**{t('layers.chosen_title')}**")
        _chosen(found)
        st.markdown(f"**{t('layers.sensitivity')}**")
        _sensitivity([{"layer": str(r["layer"]), "format": f"{r['bits']} bit", **_risen(r)} for r in found["sensitivity"]])
    with st.expander(t("layers.trials", n=len(found["trials"]))):
        rows = [_row(trial, found) for trial in found["trials"]]
        tables.draw(rows)
        export.download(rows, f"search-{name}", key=f"search-{name}")


def measure(version: Version) -> None:
    """Sensitivity of a version that wasn't searched for, measured by the model server when the reader asks for it."""
    st.subheader(t("layers.sensitivity"))
    st.markdown(t("layers.measure_what"))
    items = [item for item in versions.items(version.uri) or [] if item.get("prompt") and item.get("response")][:_TEXTS]
    texts, answers = [str(item["prompt"]) for item in items], [str(item["response"]) for item in items]
    if not texts:
        st.caption(t("layers.no_texts"))
        return
    if not st.toggle(t("layers.measure", n=len(texts)), key="layers-measure"):
        return
    document = documents.ask(
        f"{version.name}/{version.version}", "sensitivity", {"texts": texts, "answers": answers, "seconds": _SECONDS}
    )
    if document is not None:
        rows = [{"layer": str(row["layer"]), "format": row["format"], **_risen(row)} for row in document.rows]
        _sensitivity(rows)
        st.caption(t("layers.measured", loss=numbers.figure(document.facts["loss"], ".3f"), n=document.facts["texts"]))
        documents.notes(document)
        documents.table(document, f"sensitivity-{version.name}-{version.version}", [_worded(row) for row in document.rows])


def _verdict(found: Mapping[str, Any]) -> None:
    confirmed, reference, chosen = found["confirmed"], found["reference"], found["chosen"]
    difference = confirmed["difference"]
    verdict = "better" if difference["high"] < 0 else "worse" if difference["low"] > 0 else "unclear"
    icons = {"better": ":material/trending_down:", "worse": ":material/trending_up:", "unclear": ":material/help:"}
    between = {end: numbers.figure(difference[end], "+.4f") for end in ("low", "high")}
    st.markdown(f"{icons[verdict]} {t(f'layers.{verdict}', rank=reference['rank'], **between)}")
    left, middle, right = st.columns(3)
    left.metric(t("layers.loss"), numbers.interval(confirmed["chosen"]), border=True)
    middle.metric(t("layers.difference"), numbers.figure(difference["value"], "+.4f"), border=True)
    sizes = f"{numbers.size(chosen['bytes'])} / {numbers.size(reference['bytes'])}"
    right.metric(t("layers.sizes"), sizes, border=True)
    how = {"n": difference["n"], "seeds": confirmed["seeds"], "steps": confirmed["steps"], "rank": reference["rank"]}
    st.caption(t("layers.how", **how))


def _front(found: Mapping[str, Any]) -> None:
    """Loss against size: every trial by its step, a line through the front, the uniform and the chosen configuration."""
    import altair as alt

    words = [t(f"layers.step_{step}") for step in STEPS] + [t("layers.uniform"), t("layers.chosen")]
    rows = [{**_point(trial), "step": t(f"layers.step_{trial['step']}"), "front": trial["front"]} for trial in found["trials"]]
    marks = [{**_point(found["reference"]), "step": words[-2]}, {**_point(found["chosen"]), "step": words[-1]}]
    line = sorted((row for row in rows if row["front"]), key=lambda row: row["kB"])
    x = alt.X(
        "kB", type="quantitative", title=t("layers.size"), scale=alt.Scale(zero=False), axis=alt.Axis(grid=False, tickCount=6)
    )
    y = alt.Y("loss", type="quantitative", title=t("layers.loss"), scale=alt.Scale(zero=False))
    tips = [alt.Tooltip(f, type="nominal") for f in ("step", "bits", "ranks")]
    tips += [alt.Tooltip("loss", type="quantitative", format=".4f"), alt.Tooltip("kB", type="quantitative", format=",.1f")]
    colours = [charts.PALETTE[i] for i in (2, 4, 0, 1, 3)]
    colour = alt.Color(
        "step",
        type="nominal",
        scale=alt.Scale(domain=words, range=colours),
        title=None,
        legend=alt.Legend(orient="bottom", columns=2, labelLimit=260),
    )
    path = alt.Chart(charts.records(line)).mark_line(interpolate="step-after", strokeDash=[4, 3], opacity=0.6, color="#8a9694")
    points = alt.Chart(charts.records(rows)).mark_point(filled=True, size=55, opacity=0.85)
    big = alt.Chart(charts.records(marks)).mark_point(size=190, strokeWidth=3, filled=False, shape="diamond")
    drawn = path.encode(x=x, y=y) + points.encode(x=x, y=y, color=colour, tooltip=tips)
    charts.draw(drawn + big.encode(x=x, y=y, color=colour, tooltip=tips), 420, "layers-front", t("layers.front"))


def _point(trial: Mapping[str, Any]) -> dict[str, Any]:
    bits = " ".join(map(str, trial["bits"])) if "bits" in trial else "NF4"
    ranks = " ".join(map(str, trial["ranks"])) if "ranks" in trial else str(trial["rank"])
    return {"kB": trial["bytes"] / 1000, "loss": trial["loss"], "bits": bits, "ranks": ranks}


def _chosen(found: Mapping[str, Any]) -> None:
    """One column a layer: bits and rank."""
    chosen = found["chosen"]
    rows = []
    for what, values, most in (("bits", chosen["bits"], found["bits"][-1]), ("rank", chosen["ranks"], found["ranks"][-1] or 1)):
        for i, value in enumerate(values):
            word = t("layers.left_alone") if what == "rank" and not value else str(value)
            rows.append({"layer": t("layers.nth", n=i), "what": t(f"layers.{what}"), "share": value / most, "text": word})
    title = t("layers.chosen_title")
    documents.heat(rows, "layer", "what", "share", title, "layers-chosen", 130, "text", between=(0.0, 1.0), legend=False)


def _sensitivity(rows: Sequence[Mapping[str, Any]]) -> None:
    cells = [{**row, "layer": t("layers.nth", n=row["layer"])} for row in rows]
    height = 70 + 34 * len({row["layer"] for row in cells})
    between = (min(0.0, *(row["increase"] for row in cells)), max(1e-9, *(row["increase"] for row in cells)))
    title = t("layers.increase")
    documents.heat(cells, "format", "layer", "increase", title, "layers-sensitivity", height, "text", between, legend=False)
    st.caption(t("layers.star"))


def _risen(row: Mapping[str, Any]) -> dict[str, Any]:
    """An increase for a cell; a star marks one whose interval doesn't hold 0."""
    sure = row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    return {"increase": row["value"], "text": f"{numbers.figure(row['value'], '+.3f')}{'*' if sure else ''}"}


def _worded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        t("layers.layer"): row["layer"],
        t("layers.format"): row["format"],
        t("layers.increase"): numbers.interval(row, signed=True),
    }


def _row(trial: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "#": trial["number"],
        t("layers.step"): t(f"layers.step_{trial['step']}"),
        t("layers.bits"): " ".join(map(str, trial["bits"])),
        t("layers.rank"): " ".join(map(str, trial["ranks"])),
        t("layers.loss"): round(trial["loss"], 4),
        t("layers.size"): round(trial["bytes"] / 1000, 1),
        t("layers.on_front"): trial["front"],
        t("layers.chosen"): trial["number"] == found["chosen"]["number"],
    }
