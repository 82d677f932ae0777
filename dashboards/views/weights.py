"""What training changed in the weights: ΔW of each adapted module, which layers were chosen for it, and how they were found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from components.inspection import Document
from dashboards.parts import documents, layers, versions
from dashboards.ui import figures, numbers, page_state, safe
from dashboards.ui.text import t

MEASURES = ("relative_frobenius", "frobenius", "spectral", "effective_rank", "stable_rank", "left_overlap", "right_overlap")


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_weights"))
    version = versions.choose()
    if version is None:
        return
    recipe = versions.tag(version, "recipe")
    found = layers.searched(version, recipe)
    rank = _recipe(recipe, found)
    if found is not None:
        layers.draw(found, f"{version.name}-{version.version}")
        st.subheader(t("weights.change"))
    document = documents.ask(f"{version.name}/{version.version}", "adapter")
    if document is not None:
        _facts(document.facts, rank)
        _map(document)
        _spectrum(document)
        documents.notes(document)
        documents.table(document, f"adapter-{version.name}-{version.version}")
    if found is None:
        layers.measure(version)


def _recipe(recipe: Mapping[str, Any], found: Mapping[str, Any] | None) -> str | None:
    """Which layers were chosen to be adapted: by a search of bits and ranks, or by the recipe itself.

    Returns:
        The ranks in words, where layers have ranks of their own.
    """
    adapter = (recipe.get("sft") or {}).get("adapter") or {}
    between, rank = adapter.get("layers"), adapter.get("r", "–")
    what = t("weights.all_layers") if between is None else "–".join(map(str, between))
    ranks = found["chosen"]["ranks"] if found is not None else adapter.get("ranks")
    if ranks:
        what, rank = layers.selected(ranks)
    modules = safe.plain(adapter.get("target_modules") or "–")
    st.markdown(f"**{t('weights.selected')}** {safe.plain(what)} · {modules} · r={safe.plain(rank)}")
    if found is None:
        st.caption(t("weights.no_search"))
    return str(rank) if ranks else None


def _facts(facts: Mapping[str, Any], rank: str | None) -> None:
    left, middle, right = st.columns(3)
    left.metric(t("weights.relative"), "–" if facts["relative"] is None else numbers.figure(facts["relative"], ".2%"), border=True)
    middle.metric(t("weights.parameters"), numbers.number(facts["parameters"]), border=True)
    right.metric(t("weights.kind"), "+".join(facts["variant"]) + f", r={rank or facts['r']}", border=True)


def _map(document: Document) -> None:
    asked = page_state.get("measure", MEASURES[0], MEASURES)
    measure = st.selectbox(
        t("weights.measure"),
        MEASURES,
        index=MEASURES.index(asked),
        format_func=lambda n: t(f"weights.at_{n}"),
        key="weights-measure",
    )
    page_state.put(measure=None if measure == MEASURES[0] else measure)
    rows = [
        {"layer": str(row["layer"]), "kind": row["kind"], measure: row[measure]}
        for row in document.rows
        if row[measure] is not None
    ]
    documents.heat(
        rows, "kind", "layer", measure, t(f"weights.at_{measure}"), "weights-map", 90 + 40 * len({r["layer"] for r in rows})
    )
    if measure.endswith("_overlap"):
        st.caption(
            t(
                "weights.chance",
                value=numbers.figure(max(row[measure.replace("overlap", "chance")] or 0 for row in document.rows), ".3f"),
            )
        )


def _spectrum(document: Document) -> None:
    """Singular values of the modules of one kind."""
    kinds = list(dict.fromkeys(document.columns["kind"]))
    kind = st.selectbox(t("weights.spectrum"), kinds, key="weights-kind")
    chosen = [row for row in document.rows if row["kind"] == kind]
    found = [
        figures.Line(str(row["layer"]), range(1, len(values) + 1), values) for row in chosen if (values := row["singular_values"])
    ]
    names = [str(row["layer"]) for row in chosen]
    figures.lines(found, names, ("i", "σ"), height=260, key="weights-spectrum", alt=t("weights.spectrum"))
