"""Conversations as things: a new one, earlier ones, a link to share, a file to keep."""

from __future__ import annotations

from functools import partial

import streamlit as st

from components.reviews import conversations, export
from components.reviews.conversations import Conversation
from components.settings import Settings
from dashboards.talk import acting
from dashboards.ui import numbers, page_state, safe
from dashboards.ui.text import t

_ENDINGS: dict[export.Format, str] = {"markdown": "md", "json": "json", "jsonl": "jsonl"}


def draw(settings: Settings, owner: str, shown: list[Conversation]) -> None:
    """The row of buttons above a chat."""
    with st.container(horizontal=True, key="chat-shelf"):
        if st.button(t("chat.new"), icon=":material/add:", disabled=not shown, key="chat.new"):
            page_state.put(c=None, d=None, model=None)
            st.rerun()
        with st.popover(t("chat.earlier"), icon=":material/history:"):
            _earlier(settings, owner, shown)
        if shown and any(conversation.messages for conversation in shown):
            with st.popover(t("chat.share"), icon=":material/link:"):
                for conversation in shown:
                    _share(settings, owner, conversation, many=len(shown) > 1)
            with st.popover(t("chat.export"), icon=":material/download:"):
                for conversation in shown:
                    download(conversation, many=len(shown) > 1)


def _earlier(settings: Settings, owner: str, shown: list[Conversation]) -> None:
    found = conversations.listed(settings, owner)
    if not found:
        st.caption(t("chat.none_yet"))
    here = {conversation.id for conversation in shown}
    for summary in found:
        title = safe.plain(summary.title or t("chat.untitled"), 60)
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button(
                f"{title}  \n:small[{numbers.ago(summary.updated)}]",
                key=f"chat.open.{summary.id}",
                type="tertiary",
                disabled=summary.id in here,
                icon=":material/link:" if summary.shared else ":material/chat_bubble:",
            ):
                kept = conversations.load(settings, owner, summary.id)
                page_state.put(c=summary.id, d=kept.settings.get("beside"), model=None)
                st.rerun()
            st.space("stretch")
            st.button(
                t("chat.delete"),
                key=f"chat.delete.{summary.id}",
                icon=":material/delete:",
                type="tertiary",
                on_click=acting.as_reader(owner)(partial(_delete, settings, owner, summary.id)),
            )


def _delete(settings: Settings, owner: str, conversation: str) -> None:
    conversations.delete(settings, owner, conversation)
    if conversation in (page_state.get("c"), page_state.get("d")):
        page_state.put(c=None, d=None)


def _share(settings: Settings, owner: str, conversation: Conversation, many: bool) -> None:
    if many:
        st.caption(safe.plain(_model(conversation)))
    if conversation.share is None:
        st.caption(t("chat.share_about"))
        if st.button(t("chat.share_make"), key=f"chat.share.{conversation.id}"):
            conversations.share(settings, owner, conversation.id)
            st.rerun()
        return
    st.code(link(conversation.share), language=None, wrap_lines=True)
    st.caption(t("chat.shared_about"))
    if st.button(t("chat.share_end"), key=f"chat.unshare.{conversation.id}", icon=":material/link_off:"):
        conversations.unshare(settings, owner, conversation.id)
        st.rerun()


def link(token: str) -> str:
    """The whole address of a shared conversation, as this reader reaches the dashboard."""
    base = (st.context.url or "").split("?")[0].rstrip("/")
    base = base if base.endswith("/chat") else f"{base}/chat"
    return f"{base}?shared={token}"


def download(conversation: Conversation, many: bool = False) -> None:
    """Buttons that save a conversation."""
    if not conversation.messages:
        return
    if many:
        st.caption(safe.plain(_model(conversation)))
    with st.container(horizontal=True):
        for form, ending in _ENDINGS.items():
            st.download_button(
                t(f"chat.export_{form}"),
                export.export(conversation, form),
                f"chat-{conversation.id[:8]}.{ending}",
                export.MIME[form],
                key=f"chat.export.{conversation.id}.{form}",
                on_click="ignore",
            )


def _model(conversation: Conversation) -> str:
    return str(conversation.settings.get("model", ""))
