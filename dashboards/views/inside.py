"""What a model does with a prompt: attention, logit lens, embeddings' neighbours, RoPE, experts. The model server computes."""

from __future__ import annotations

from typing import Any

import streamlit as st

from components.inspection import Document
from dashboards.parts import documents, versions
from dashboards.ui import charts, page_state, safe
from dashboards.ui.text import t

VIEWS = ("attention", "logit_lens", "tokens", "neighbours", "norms", "rope", "experts")
_LONGEST = 2000


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_inside"))
    version = versions.choose()
    if version is None:
        return
    view = str(
        st.segmented_control(
            t("inside.view"),
            VIEWS,
            default=page_state.get("view", VIEWS[0], VIEWS),
            format_func=lambda name: t(f"inside.at_{name}"),
            label_visibility="collapsed",
            required=True,
            key="inside-view",
        )
    )
    with st.form("inside", border=False):
        prompt = st.text_area(t("inside.prompt"), page_state.get("prompt", t("inside.example")), max_chars=_LONGEST, height=90)
        chat = st.checkbox(t("inside.chat"), page_state.get("chat") == "1")
        st.form_submit_button(t("inside.look"), icon=":material/visibility:", type="primary")
    page_state.put(view=view, prompt=prompt, chat="1" if chat else None)
    st.caption(t(f"inside.about_{view}"))
    document = documents.ask(f"{version.name}/{version.version}", view, {}, prompt, chat)
    if document is None:
        return
    documents.notes(document)
    if view == "attention":
        _attention(document)
    elif view == "rope":
        _rope(document)
    documents.table(document, f"{view}-{version.name}-{version.version}", ("map",))


def _attention(document: Document) -> None:
    """One head's map, and every head's summary."""
    rows = list(document.rows)
    left, right = st.columns(2)
    layer = left.selectbox(t("inside.layer"), sorted({row["layer"] for row in rows}), key="inside-layer")
    head = right.selectbox(t("inside.head"), sorted({row["head"] for row in rows}), key="inside-head")
    chosen = next(row["map"] for row in rows if (row["layer"], row["head"]) == (layer, head))
    names = [f"{i} {safe.visible(token)}" for i, token in enumerate(document.facts["tokens"])]
    if chosen is None:
        st.caption(t("inside.no_map"))
    else:
        cells = [{"to": names[k], "from": names[q], "weight": w} for q, line in enumerate(chosen) for k, w in enumerate(line)]
        documents.heat(cells, "to", "from", "weight", t("inside.weight"), "inside-map", 120 + 18 * len(names))
    summary = [{"head": str(row["head"]), "layer": str(row["layer"]), "entropy": row["entropy"]} for row in rows]
    documents.heat(summary, "head", "layer", "entropy", t("inside.entropy"), "inside-entropy", 90 + 30 * document.facts["layers"])


def _rope(document: Document) -> None:
    """Wavelengths of each pair of dimensions, as the model has them and stretched."""
    scalings = ["model", *document.settings["scalings"]]
    rows: list[dict[str, Any]] = [
        {"pair": row["pair"], "frequency": row[name], "scaling": name}
        for row in document.rows
        for name in scalings
        if row.get(name)
    ]
    chart = charts.lines(rows, "pair", "frequency", "scaling", scalings, (t("inside.pair"), t("inside.frequency")), log=True)
    charts.draw(chart, height=300, key="inside-rope", alt_text=t("inside.rope"))
