"""What a model does with a prompt: attention, logit lens, embeddings' neighbours, RoPE, experts. The model server computes."""

from __future__ import annotations

import streamlit as st

from dashboards.parts import documents, looks, versions
from dashboards.ui import page_state
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
        with st.container(horizontal=True, vertical_alignment="center"):
            st.form_submit_button(t("inside.look"), icon=":material/visibility:", type="primary")
            chat = st.checkbox(t("inside.chat"), page_state.get("chat") == "1")
    page_state.put(view=view, prompt=prompt, chat="1" if chat else None)
    st.caption(t(f"inside.about_{view}"))
    document = documents.ask(f"{version.name}/{version.version}", view, {}, prompt, chat)
    if document is not None:
        looks.draw(document, f"{version.name}-{version.version}")
